"""Diagnosis: from facts to findings, each with problem, evidence and fix."""
