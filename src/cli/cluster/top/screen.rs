//! The terminal, while a frame is drawn over and over.

use std::io::{self, Write};

use anyhow::Context;
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, event, execute, queue, style, terminal};
use tokio::sync::mpsc;

use super::frame::Size;

/// Keys that nobody has looked at yet.
const INPUTS_MAX: usize = 16;

/// A screen of our own. The terminal is as it was once this is dropped.
pub(super) struct Screen(());

/// What somebody did at the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    Resized,
}

impl Screen {
    pub(super) fn enter() -> anyhow::Result<Self> {
        terminal::enable_raw_mode().context("this terminal cannot be drawn on; take one frame: --once")?;
        let screen = Self(());
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> Size {
        terminal::size()
            .map_or_else(|_| Size::of_pipe(), |(columns, rows)| Size { columns: columns.into(), rows: rows.into() })
    }

    /// Over what was there, line by line, so that nothing flickers.
    pub(super) fn draw(&mut self, lines: &[String]) -> anyhow::Result<()> {
        let mut output = io::stdout().lock();
        queue!(output, terminal::BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(lines) {
            let clear = terminal::Clear(terminal::ClearType::UntilNewLine);
            queue!(output, cursor::MoveTo(0, row), style::Print(line), clear)?;
        }
        queue!(output, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
        Ok(output.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// What is done at the terminal, as it is done; no more once it cannot be read.
pub(super) fn inputs() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    // A read of the terminal cannot be given up, so it has a thread that ends with the process.
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Some(input) = meaning(&event)
                && sender.blocking_send(input).is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn meaning(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Input::Quit),
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Input::Quit),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_control_c_quit() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(key(code, KeyModifiers::NONE), Some(Input::Quit));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Input::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(meaning(&Event::Resize(80, 24)), Some(Input::Resized));
    }
}
