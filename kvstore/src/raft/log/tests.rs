//! log tests
