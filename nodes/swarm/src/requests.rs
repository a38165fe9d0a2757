//! The open requests by their number.

use crate::event::RequestId;
use crate::request::Request;

/// The open requests, oldest first. There are a few most of the time, and nearly every event looks one up.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    requests: Vec<(RequestId, Request)>,
}

impl Requests {
    pub(crate) fn get(&self, id: RequestId) -> Option<&Request> {
        self.position(id).map(|position| &self.requests[position].1)
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.position(id).map(|position| &mut self.requests[position].1)
    }

    fn position(&self, id: RequestId) -> Option<usize> {
        self.requests.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// Adds a request whose number is above all others.
    pub(crate) fn push(&mut self, id: RequestId, request: Request) {
        debug_assert!(self.requests.last().is_none_or(|(last, _)| *last < id), "{id:?} is the newest");
        self.requests.push((id, request));
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Request> {
        self.position(id).map(|position| self.requests.remove(position).1)
    }

    pub(crate) const fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().map(|(_, request)| request)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (RequestId, &mut Request)> {
        self.requests.iter_mut().map(|(id, request)| (*id, request))
    }
}
