"""Write dispositions: how a partition's staged rows enter the table, one module each."""
