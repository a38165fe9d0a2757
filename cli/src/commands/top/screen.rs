//! The terminal while a page has it.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Next,
    Previous,
    /// The terminal has another size.
    Redraw,
    End,
}

/// Keys that wait to be looked at.
const KEYS: usize = 16;

/// How often the reader of keys looks whether anybody still wants them.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal, which is given back as it was: dropped, or by a panic.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal, and reads its keys.
    pub(super) fn open() -> Result<(Self, mpsc::Receiver<Key>), Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            // It may have been taken halfway.
            ratatui::restore();
            unusable(&error)
        })?;
        let screen = Self(terminal);
        let (keys, pressed) = mpsc::channel(KEYS);
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read_keys(&keys))
            .map_err(|error| unusable(&error))?;
        Ok((screen, pressed))
    }

    pub(super) fn draw(&mut self, page: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.0.draw(page).map(drop).map_err(|error| unusable(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::other(format!("cannot show a page on this terminal: {error}"))
        .with_hint("--once prints one reading, --output json for programs")
}

/// Ends when nobody wants keys any more, or none can be read.
fn read_keys(keys: &mpsc::Sender<Key>) {
    while !keys.is_closed() {
        let event = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let Ok(event) = event else { return };
        if Key::of(&event).is_some_and(|key| keys.blocking_send(key).is_err()) {
            return;
        }
    }
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Resize(..) => Some(Self::Redraw),
            Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
                KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Self::End),
                KeyCode::Char('q') | KeyCode::Esc => Some(Self::End),
                KeyCode::Tab | KeyCode::Right | KeyCode::Down => Some(Self::Next),
                KeyCode::BackTab | KeyCode::Left | KeyCode::Up => Some(Self::Previous),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_from_node_to_node_and_out() {
        let key = |code, modifiers| Key::of(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| key(code, KeyModifiers::NONE);
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(plain(code), Some(Key::End), "{code:?}");
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::End));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!((plain(KeyCode::Tab), plain(KeyCode::Right)), (Some(Key::Next), Some(Key::Next)));
        assert_eq!(key(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Key::Previous));
        assert_eq!(Key::of(&Event::Resize(80, 24)), Some(Key::Redraw));
        assert_eq!(Key::of(&Event::FocusLost), None);
    }
}
