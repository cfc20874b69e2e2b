"""The command line: `python -m btpctl`. Shows how every BtpOperator stands, and lets a person intervene."""
