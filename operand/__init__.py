"""What is known of the operand: rendering, comparison, certificates, ownership, service objects. No Temporal."""
