"""flashgru: sparse execution of a recurrent cell."""
