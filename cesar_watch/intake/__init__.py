"""What came, is it whole, is it ours: watch, settle and claim. Imports only core."""
