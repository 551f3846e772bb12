"""What is true about privacy: budgets, events, accounting, plans, ledgers, reports."""
