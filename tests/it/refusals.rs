//! What is refused at the start and between nodes: who must not speak with whom, and which data directory is whose.

mod directories;
mod peers;
