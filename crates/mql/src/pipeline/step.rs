//! The one form of a stage that reads an input: it says what is its own, and passes on the rest.

use smongo_bson::{Doc, Result};

use crate::stream::{Host, Stream};

/// A running stage, without its input.
pub(super) trait Step: Send {
    /// Documents, or what is attached to them, may be the input's. A stage that makes all it gives has nothing attached to it.
    const LENDS: bool = true;

    /// Moves to the next document; see [`Stream::advance`].
    fn advance(&mut self, input: &mut dyn Stream, host: &mut dyn Host) -> Result<bool>;

    /// The current document: the input's, where the stage makes none.
    fn doc<'a>(&'a self, input: &'a dyn Stream) -> Doc<'a> {
        input.doc()
    }

    /// What a search attached to it.
    fn meta<'a>(&'a self, input: &'a dyn Stream) -> Doc<'a> {
        if Self::LENDS { input.meta() } else { Doc::EMPTY }
    }

    /// The stream is parked; its input was already.
    fn park(&mut self, _host: &mut dyn Host) {}
}

/// A stage over its input.
struct Over<S> {
    input: Box<dyn Stream>,
    step: S,
}

pub(super) fn over(input: Box<dyn Stream>, step: impl Step + 'static) -> Box<dyn Stream> {
    Box::new(Over { input, step })
}

impl<S: Step> Stream for Over<S> {
    fn advance(&mut self, host: &mut dyn Host) -> Result<bool> {
        self.step.advance(&mut *self.input, host)
    }

    fn doc(&self) -> Doc<'_> {
        self.step.doc(&*self.input)
    }

    fn meta(&self) -> Doc<'_> {
        self.step.meta(&*self.input)
    }

    fn passes(&self) -> u32 {
        if S::LENDS { self.input.passes() + 1 } else { 0 }
    }

    fn park(&mut self, host: &mut dyn Host) {
        self.input.park(host);
        self.step.park(host);
    }
}
