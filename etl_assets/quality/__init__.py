"""Quality: cleaned rows against their contract; good rows, quarantined rows, counts and the verdict."""
