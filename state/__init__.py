"""The truth: what is known of each study, kept in Redis or Valkey (design: study records, indexes, cuts, chain)."""
