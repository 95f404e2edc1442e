//! BSON values, their order, paths, numbers, key encoding and the error table
