"""What Dagster knows that is worth an alert, and the sensor that has it told."""
