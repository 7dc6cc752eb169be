"""Cloud Control: the resources that ``sam list endpoints`` asks for."""
