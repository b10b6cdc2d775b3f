"""What Meta's released SAM does differently from the document's, and only that."""
