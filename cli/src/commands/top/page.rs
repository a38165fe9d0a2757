//! A node's page as a terminal shows it.

use ratatui::Frame;
use ratatui::layout::Constraint::{self, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

use super::super::shown::rate_or_nothing;
use super::rates::{Direction, Page, Rates};
use super::text::{PEER, TRANSFER, of_direction, of_peer, of_transfer, share, terms, title};

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) herd: &'a str,
    /// Of the node that was chosen; none before anybody has answered.
    pub(super) page: Option<&'a Page>,
    /// The page's place among so many.
    pub(super) place: usize,
    pub(super) count: usize,
    pub(super) paint: Paint,
}

/// Whether the terminal's colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    /// As <https://no-color.org> has it.
    pub(super) fn of_environment() -> Self {
        match std::env::var_os("NO_COLOR") {
            Some(text) if !text.is_empty() => Self::Plain,
            _ => Self::Coloured,
        }
    }

    fn colour(self, colour: Color) -> Style {
        match self {
            Self::Coloured => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }
}

const HEADER: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Most transfers shown while there are peers below them.
const TRANSFERS: usize = 8;
/// Columns that a direction's figures take; the bar has what is left.
const FIGURES: u16 = 52;
/// Columns below which what classes and peers may have is left out.
const WIDE: u16 = 100;
/// Columns that a table takes at most: numbers far from their names are hard to read.
const WIDEST: u16 = 120;
/// A column of names, which has what others leave.
const NAME: Constraint = Constraint::Fill(1);

/// Draws the whole page.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let [head, page, foot] = Layout::vertical([Length(2), Constraint::Min(0), Length(1)]).areas(frame.area());
    let place = if view.count == 0 {
        "no node".to_owned()
    } else {
        format!("node {} of {}", view.place + 1, view.count)
    };
    let lines = [
        Line::from(format!("rdcq top  herd {}  {place}", view.herd)).style(FAINT),
        Line::from(view.page.map_or_else(|| "asking ...".to_owned(), title)).style(HEADER),
    ];
    for (line, area) in lines.into_iter().zip(head.rows()) {
        frame.render_widget(line, area);
    }
    match view.page {
        Some(Page::Told(rates)) => draw_rates(frame, page, rates, view.paint),
        Some(Page::Silent { error, .. }) => {
            let text = format!("does not answer: {error}");
            frame.render_widget(Line::from(text).style(view.paint.colour(Color::Red)), page);
        }
        None => {}
    }
    frame.render_widget(Line::from("Tab, arrows: other nodes  q: end").style(FAINT), foot);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, rates: &Rates, paint: Paint) {
    let table = |rows: usize| if rows == 0 { 0 } else { u16::try_from(rows + 2).unwrap_or(u16::MAX) };
    let transfers = rates.transfers.len().min(TRANSFERS);
    let [egress, ingress, classes, moving, peers] = Layout::vertical([
        Length(1),
        Length(1),
        Length(table(rates.egress.classes.len())),
        Length(table(transfers)),
        Constraint::Min(0),
    ])
    .areas(area);
    draw_direction(frame, egress, "egress", &rates.egress, paint);
    draw_direction(frame, ingress, "ingress", &rates.ingress, paint);
    draw_classes(frame, classes, rates);
    let lines = rates.transfers.iter().take(transfers).map(of_transfer);
    draw_table(
        frame,
        moving,
        TRANSFER,
        [NAME, Length(10), Length(5), Length(11), Length(12), Length(8)],
        lines,
    );
    // No more than there is room for: a page of ten thousand peers is not laid out to show thirty.
    let room = usize::from(peers.height);
    let limits = Length(if peers.width < WIDE { 0 } else { 40 });
    let columns = [NAME, Length(11), Length(12), Length(12), limits];
    draw_table(frame, peers, PEER, columns, rates.peers.iter().take(room).map(of_peer));
}

/// What it moves and may, and a bar if it is limited and there is room.
fn draw_direction(frame: &mut Frame<'_>, area: Rect, name: &str, direction: &Direction, paint: Paint) {
    let [figures, bar] = Layout::horizontal([Length(FIGURES), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::from(format!("{name:<8}{}", of_direction(direction))), figures);
    if let Some(share) = share(direction) {
        let colour = if share < 0.95 { Color::Green } else { Color::Yellow };
        let filled = (f64::from(bar.width) * share.clamp(0.0, 1.0)).round() as usize;
        frame.render_widget(Line::from("█".repeat(filled)).style(paint.colour(colour)), bar);
    }
}

fn draw_classes(frame: &mut Frame<'_>, area: Rect, rates: &Rates) {
    let lines = rates.egress.classes.iter().map(|egress| {
        let ingress = rates.ingress.classes.iter().find(|ingress| ingress.class == egress.class);
        let of_ingress = ingress.and_then(|ingress| ingress.bytes_per_second);
        [
            egress.class.to_owned(),
            rate_or_nothing(egress.bytes_per_second),
            rate_or_nothing(of_ingress),
            terms(egress),
        ]
    });
    let header = ["class", "egress", "ingress", "may send"];
    let last = if area.width < WIDE { 0 } else { 60 };
    draw_table(frame, area, header, [Length(12), Length(14), Length(14), Length(last)], lines);
}

/// A table below an empty line, if there is anything in it.
fn draw_table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    header: [&'static str; N],
    widths: [Constraint; N],
    lines: impl Iterator<Item = [String; N]>,
) {
    let [_, area] = Layout::vertical([Length(1), Constraint::Min(0)]).areas(area);
    let mut lines = lines.peekable();
    if area.is_empty() || lines.peek().is_none() {
        return;
    }
    let rows: Vec<_> = lines.map(Row::new).collect();
    let area = Rect { width: area.width.min(WIDEST), ..area };
    frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(HEADER)), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use rdcq_client::OperationError;
    use rdcq_wire::{ErrorCode, Role};

    use super::super::rates::Pages;
    use super::super::rates::tests::{reading, server};
    use super::*;

    fn view<'a>(page: Option<&'a Page>, paint: Paint) -> View<'a> {
        View { herd: "test", page, place: 0, count: page.iter().count(), paint }
    }

    fn screen(width: u16, height: u16, view: &View<'_>) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal
    }

    fn text(width: u16, height: u16, view: &View<'_>) -> Vec<String> {
        let terminal = screen(width, height, view);
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    fn told() -> Page {
        let outcome = |seconds| [Ok(reading("n1", Role::Agent, seconds))];
        Pages::of(&[server(Role::Agent, 1)], &outcome(2), &outcome(4)).nodes.remove(0)
    }

    #[test]
    fn a_page_shows_directions_classes_transfers_and_peers() {
        let page = told();
        let shown = text(72, 18, &view(Some(&page), Paint::Plain));
        let wanted = [
            "rdcq top  herd test  node 1 of 1",
            "n1 (agent 127.0.0.1:1), up 4s, 4 connections",
            "egress  40.0 Mbit/s of 100 Mbit/s, 40 %, 3 waiting  ████████",
            "ingress 8.00 Mbit/s, no limit",
            "",
            "class        egress         ingress",
            "urgent       8.00 kbit/s    0 bit/s",
            "normal       16.0 kbit/s    0 bit/s",
            "background   24.0 kbit/s    0 bit/s",
            "",
            "?",
            "?",
            "",
            "?",
            "?",
            "?",
            "",
            "Tab, arrows: other nodes  q: end",
        ];
        for (got, wanted) in shown.iter().zip(wanted).filter(|(_, wanted)| *wanted != "?") {
            assert_eq!(got, wanted, "{shown:#?}");
        }
        let said = ["k:7", "urgent", "40 %", "9.54 MiB", "8.00 Mbit/s", "6s"];
        assert!(said.iter().all(|said| shown[11].contains(said)), "{shown:#?}");
        let said = ["a2", "32.0 Mbit/s", "8.00 kbit/s"];
        assert!(said.iter().all(|said| shown[14].contains(said)), "{shown:#?}");
        assert!(shown[15].starts_with("a1"), "{shown:#?}");
        let wide = text(120, 18, &view(Some(&page), Paint::Plain));
        assert!(wide[6].ends_with("weight 4, at least 8.00 Mbit/s"), "{wide:#?}");
    }

    #[test]
    fn a_node_that_does_not_answer_is_shown_as_such_and_before_the_first_answer_nothing_is() {
        let gone = [Err(OperationError::new(ErrorCode::Unavailable, "nobody is there"))];
        let pages = Pages::of(&[server(Role::Tracker, 2)], &[], &gone);
        let shown = text(60, 5, &view(pages.nodes.first(), Paint::Coloured));
        assert_eq!(shown[1..3], ["tracker 127.0.0.1:2", "does not answer: nobody is there"]);
        let shown = text(60, 5, &view(None, Paint::Coloured));
        assert_eq!(shown[..2], ["rdcq top  herd test  no node", "asking ..."]);
    }

    #[test]
    fn it_fits_a_terminal_of_any_size() {
        let page = told();
        for (width, height) in [(1, 1), (1, 40), (10, 3), (20, 10), (40, 12), (300, 2), (300, 100)] {
            screen(width, height, &view(Some(&page), Paint::Coloured));
        }
    }

    #[test]
    fn colours_are_left_out_where_nobody_wants_them() {
        let page = told();
        let colours = |paint| {
            let terminal = screen(100, 20, &view(Some(&page), paint));
            let cells = terminal.backend().buffer().content();
            cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert_eq!(colours(Paint::Plain), 0);
        assert!(colours(Paint::Coloured) > 0);
    }
}
