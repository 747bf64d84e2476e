"""What carpool promises about money, speed and memory, measured. Run with ``python -m bench``; see README.md."""
