//! The database: catalog, indexes, planner, execution, writes, oplog, commands, sessions, typed client
