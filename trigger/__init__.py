"""The watcher: `python -m trigger`. Sees a change, says which CR to look at, decides nothing."""
