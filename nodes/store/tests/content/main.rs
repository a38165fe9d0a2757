//! The content store keeps its promises on a real disk, on a simulated one, and across crashes.

mod crash;
mod damage;
mod everyday;
mod node;
