"""The words the whole project shares: shapes, reasons and rules as pure functions. No I/O, no imports of ours."""
