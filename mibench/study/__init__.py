"""What is measured: attacks on scenarios, their metrics and tables; audits."""
