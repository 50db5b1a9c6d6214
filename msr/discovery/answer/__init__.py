"""What a discovery says: values, evidence and sentences."""
