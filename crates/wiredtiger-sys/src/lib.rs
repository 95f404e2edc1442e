//! C declarations of WiredTiger and the build of its pinned release
