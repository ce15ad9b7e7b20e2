//! The screen.

use mica_inspect::{ChangeKind, Kind, shown};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::details;
use super::explorer::{Explorer, Pane, Purpose};
use super::files::{Order, Row, Shown};
use super::keys;
use super::pager::{Cells, Pager};
use crate::look;
use crate::printer;

/// Rows of the lowest pane, with its frame.
const DETAILS: u16 = 6;

/// Columns of the layers' pane, with its frame; a wider screen gives it more.
const LAYERS: u16 = 36;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, explorer: &mut Explorer<'_>) {
    let areas = [Constraint::Min(3), Constraint::Length(1)];
    let [main, footer] = Layout::vertical(areas).areas(frame.area());
    if explorer.pager.is_some() {
        explorer.height = usize::from(main.height.saturating_sub(2));
        explorer.width = usize::from(main.width.saturating_sub(2));
        if let Some(pager) = &explorer.pager {
            draw_pager(frame, main, pager);
        }
        frame.render_widget(Paragraph::new(footer_text(explorer)), footer);
        return;
    }
    let areas = [Constraint::Min(3), Constraint::Length(DETAILS)];
    let [panes, about] = Layout::vertical(areas).areas(main);
    let layers = LAYERS.max(panes.width / 3).min(panes.width / 2);
    let areas = [Constraint::Length(layers), Constraint::Min(10)];
    let [left, right] = Layout::horizontal(areas).areas(panes);
    explorer.height = usize::from(panes.height.saturating_sub(2)).max(1);
    explorer.tops = (
        top(explorer.tops.0, explorer.layer, explorer.height),
        top(explorer.tops.1, explorer.cursor, explorer.height),
    );
    draw_layers(frame, left, explorer);
    draw_files(frame, right, explorer);
    draw_details(frame, about, explorer);
    frame.render_widget(Paragraph::new(footer_text(explorer)), footer);
}

/// Returns the first row on the screen so that the selected one is on it.
fn top(top: usize, selected: usize, height: usize) -> usize {
    top.clamp((selected + 1).saturating_sub(height), selected)
}

fn footer_text(explorer: &Explorer<'_>) -> String {
    match &explorer.typed {
        Some((Purpose::Search, text)) => format!("search: {text}▏"),
        Some((Purpose::Filter, text)) => format!("filter: {text}▏"),
        None if !explorer.message.is_empty() => explorer.message.clone(),
        None if explorer.pager.is_some() => keys::OF_PAGER.into(),
        None => keys::SHORT.into(),
    }
}

fn frame_of(title: String, is_active: bool) -> Block<'static> {
    let style = match is_active {
        true => Style::new().add_modifier(Modifier::BOLD),
        false => Style::new().add_modifier(Modifier::DIM),
    };
    Block::bordered().title(title).border_style(style)
}

/// A line of a list: the selected one stands out, more so in the pane that keys go to.
fn selectable(line: Line<'static>, is_selected: bool, is_active: bool) -> Line<'static> {
    match (is_selected, is_active) {
        (true, true) => line.style(Modifier::REVERSED),
        (true, false) => line.style(Modifier::UNDERLINED),
        (false, _) => line,
    }
}

fn draw_layers(frame: &mut Frame<'_>, area: Rect, explorer: &Explorer<'_>) {
    let is_active = explorer.pane == Pane::Layers;
    let layers = explorer.image.layers.iter().enumerate();
    let lines = layers.skip(explorer.tops.0).take(explorer.height);
    let line = |(number, layer): (usize, &mica_inspect::Layer)| {
        let size = printer::size(explorer.summaries[number].size);
        let instruction = look::one_line(&layer.instruction);
        let line = Line::from(format!("{number:>3} {size:>7} {instruction}"));
        selectable(line, number == explorer.layer, is_active)
    };
    let lines: Vec<_> = lines.map(line).collect();
    let name = look::printable(explorer.image.name.as_bytes());
    let block = frame_of(format!(" {name} "), is_active);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_files(frame: &mut Frame<'_>, area: Rect, explorer: &Explorer<'_>) {
    let is_active = explorer.pane == Pane::Files;
    let rows = explorer.rows.iter().enumerate();
    let lines = rows.skip(explorer.tops.1).take(explorer.height);
    let line = |(number, row): (usize, &Row)| {
        selectable(
            file_line(explorer, *row),
            number == explorer.cursor,
            is_active,
        )
    };
    let lines: Vec<_> = lines.map(line).collect();
    let what = match explorer.shown {
        Shown::Stack => format!("Files up to layer {}", explorer.layer),
        Shown::Layer => format!("Changes of layer {}", explorer.layer),
    };
    let order = match explorer.view.order {
        Order::Name => "",
        Order::Size => ", by size",
    };
    let filter = match explorer.view.filter.as_str() {
        "" => String::new(),
        filter => format!(", with `{filter}`"),
    };
    let block = frame_of(format!(" {what}{order}{filter} "), is_active);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn file_line(explorer: &Explorer<'_>, row: Row) -> Line<'static> {
    let item = &explorer.files.items[row.item];
    let is_open = explorer.view.unfolded.contains(&item.path) || !explorer.view.filter.is_empty();
    let sign = match (item.is_directory(), is_open) {
        (true, true) => "▾ ",
        (true, false) => "▸ ",
        (false, _) => "  ",
    };
    let (mark, color) = match item.change {
        Some(ChangeKind::Added) => ('A', Color::Green),
        Some(ChangeKind::Changed) => ('C', Color::Yellow),
        Some(ChangeKind::Removed) => ('D', Color::Red),
        None if item.holds_changes => ('*', Color::Reset),
        None => (' ', Color::Reset),
    };
    let entry = item.data.map(|data| explorer.whole.tree.entry(data));
    let end = match (item.kind, entry) {
        (Kind::Directory, _) => "/".to_owned(),
        (Kind::Symlink, Some(entry)) => format!(" -> {}", look::printable(&entry.link)),
        _ => String::new(),
    };
    let size = printer::size(item.size);
    let name = look::printable(item.name());
    let indent = "  ".repeat(row.depth);
    Line::from(vec![
        Span::styled(format!("{mark} "), Style::new().fg(color)),
        Span::raw(format!("{size:>7} {indent}{sign}")),
        Span::styled(format!("{name}{end}"), Style::new().fg(color)),
    ])
}

fn draw_details(frame: &mut Frame<'_>, area: Rect, explorer: &Explorer<'_>) {
    let rows = usize::from(area.height.saturating_sub(2));
    let (title, lines) = match (explorer.pane, explorer.selected()) {
        (Pane::Files, Some(item)) => (
            look::printable(shown(&item.path).as_bytes()),
            details::in_short(explorer, item, rows),
        ),
        _ => {
            let text = details::of_layer(explorer, explorer.layer);
            let lines = text.lines().map(str::to_owned).collect();
            (format!("Layer {}", explorer.layer), lines)
        }
    };
    let lines: Vec<_> = lines.into_iter().map(Line::from).collect();
    let block = frame_of(format!(" {title} "), false);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_pager(frame: &mut Frame<'_>, area: Rect, pager: &Pager) {
    let height = usize::from(area.height.saturating_sub(2));
    let width = usize::from(area.width.saturating_sub(2));
    let end = pager.window.len(pager.form).min(pager.top + height);
    let rows = (pager.top..end).map(|row| line_of(&pager.row(row, width)));
    let rows: Vec<_> = rows.collect();
    let place = format!(" {} ", pager.place(height));
    let block = frame_of(format!(" {} ", pager.title), true).title_bottom(place);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

/// Makes what was found stand out.
fn line_of(cells: &Cells) -> Line<'static> {
    let parts = cells.chunk_by(|(_, one), (_, other)| one == other);
    let span = |part: &[(char, bool)]| {
        let text: String = part.iter().map(|(letter, _)| *letter).collect();
        match part.iter().any(|(_, is_found)| *is_found) {
            true => Span::styled(text, Modifier::REVERSED | Modifier::BOLD),
            false => Span::raw(text),
        }
    };
    Line::from(parts.map(span).collect::<Vec<_>>())
}
