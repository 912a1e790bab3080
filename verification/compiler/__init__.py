"""Proofs that the compiler's programs do what their graphs say."""
