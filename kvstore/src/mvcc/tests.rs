//! mvcc tests
