"""The stand-ins that the stories rest on do what the real ones would."""
