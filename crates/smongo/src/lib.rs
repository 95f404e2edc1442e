//! An embeddable MongoDB: typed Rust client and the smongo program
