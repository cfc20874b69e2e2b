"""One module per thing done to the cluster.

Every activity may run twice, or be killed half-way, and ends in the same place.
"""
