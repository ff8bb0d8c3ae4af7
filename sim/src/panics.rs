//! What is said of a panic. A run may have many threads, and a process many runs.

use core::any::Any;
use core::cell::RefCell;
use std::io::Write;
use std::panic::set_hook;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a run says of its panics; all its threads share it.
#[derive(Clone, Default)]
pub(crate) struct Words(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// What the first panic said, and where it was.
    panicked: Option<String>,
    /// What to say before the process ends, where panics end it.
    on_abort: String,
}

thread_local! {
    static WORDS: RefCell<Words> = RefCell::default();
}

impl Words {
    /// Those of this thread.
    pub(crate) fn here() -> Self {
        WORDS.with_borrow(Self::clone)
    }

    /// This thread works for the run that has them.
    pub(crate) fn share(&self) {
        WORDS.with_borrow_mut(|words| *words = self.clone());
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn take() -> Option<String> {
    Words::here().lock().panicked.take()
}

pub(crate) fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// From now on a panic anywhere in the process is not told on stderr but kept for its [`crate::search::Finding`]. Where panics
/// end the process, it is told on stdout with what [`on_abort`] left, and the exit code is 1.
pub fn hush_panics() {
    hush_panics_that(cfg!(panic = "abort"));
}

/// The same, where it is said whether panics end the process.
#[doc(hidden)]
pub fn hush_panics_that(end_the_process: bool) {
    set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |at| format!(", {}:{}", at.file(), at.line()));
        let text = format!("{}{place}", said(info.payload()));
        let words = Words::here();
        let mut words = words.lock();
        if end_the_process {
            let _ = writeln!(std::io::stdout(), "panic: {text}\n{}", words.on_abort);
            std::process::exit(1);
        }
        // Of those who wait for a thread that panicked each panics as well.
        words.panicked.get_or_insert(text);
    }));
}

/// What to say if a panic of this thread, or of those that work for its run, ends the process.
pub fn on_abort(text: String) {
    Words::here().lock().on_abort = text;
}
