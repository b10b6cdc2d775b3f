"""What only the notebooks need: the shape ledger, the prompt canvas, plots and exercises."""
