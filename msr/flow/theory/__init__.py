"""What is exactly known of the flow: closed forms, equations of one number, rates."""
