"""Reclaim: what a soft delete abandoned is deleted in SAP BTP, and nothing else is."""
