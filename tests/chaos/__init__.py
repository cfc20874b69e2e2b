"""Every fault against every story: `make chaos` runs all of it, the tests here a sample."""
