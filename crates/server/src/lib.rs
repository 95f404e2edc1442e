//! The sockets: MongoDB's wire protocol over TCP and unix sockets
