"use strict";

// The data, as payload.py beside this packs it. Times are New York's wall clock in ms since 1970, "as if UTC"; symbols
// and days are places in `symbols` and `days`.
//   bars    [symbol, day, unit, minutes, opens, closes, highs, lows]    differences, in 1/unit dollars
//   trades  [symbol, day, qty, entry time, entry price, exit time, exit price, gross, reason, net]
//   held    [symbol, day, qty, entry time, entry price]
//   orders  [symbol, day, side, status, time, limit price or null]      those that ended without filling whole
//   equity  [times, profits, drawdowns]                                 in millionths of a dollar
//   average number of closes in the average that the algo looks at, or null
//   lines   [symbol, day, name, times, values]                          what the algo's class plots, by bars
//   stopped [symbol, day, "blocked" or "rejected", time, why]           signals and orders that came to nothing
//   sums    [date, net, trades]                                         of each day
//   markouts ["entry" or "exit", seconds, cents a share]

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const ABOVE = { standoff: 6, angle: 180 }; // px from the price; an entry points up to its price from below
const AROUND = 10 * MINUTE; // shown before and after a trade that is zoomed to
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December"];
// How an exit is called in the chart, by its reason.
const EXITS = [["exit", "triangle-up", 11, (reason) => reason === "sell"],
  ["stop", "diamond", 10, (reason) => /stop|trail/.test(reason)],
  ["liquidation", "square", 9, (reason) => reason === "liquidation"],
  ["other exit", "hexagon", 10, () => true]];
const ROWS = 50; // of the table of trades, until more are asked for
// Without the library's tool bar, which also offers to send the data elsewhere: dragging zooms, a double click resets.
const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const HOLDS = [[60, "under 1 min"], [120, "1 to 2"], [300, "2 to 5"], [600, "5 to 10"], [1200, "10 to 20"],
  [3600, "20 to 60"], [7200, "1 to 2 h"], [Infinity, "over 2 h"]];
const COLUMNS = [ // of the table of trades: heading, what is sorted by, what is written, is it a number
  ["Symbol", (t) => t.symbol, (t) => t.symbol, false],
  ["Entered", (t) => t.entryTime, (t) => `${dateOf(t.entryTime)} ${timeOf(t.entryTime)}`, false],
  ["Entry $", (t) => t.entryPrice, (t) => price(t.entryPrice), true],
  ["Left", (t) => t.exitTime, (t) => leftAt(t), false],
  ["Exit $", (t) => t.exitPrice, (t) => price(t.exitPrice), true],
  ["Shares", (t) => t.qty, (t) => String(t.qty), true],
  ["Hold min:s", (t) => t.hold, (t) => span(t.hold), true],
  ["Gross $", (t) => t.gross, (t) => signed(t.gross), true],
  ["Net $", (t) => t.profit, (t) => signed(t.profit), true],
  ["By", (t) => t.reason, (t) => t.reason, false],
];

let data; // see above; `trades` as objects
let barsOf; // "symbol/day" -> a row of data.bars
let sorted = []; // the trades as the table has them
let isLong = false; // whether the table shows all of them
let chosen = null; // the trade that is marked

const at = (id) => document.getElementById(id);

// -- words ------------------------------------------------------------------------------------------------------------

const dateOf = (time) => new Date(time).toISOString().slice(0, 10);
const timeOf = (time) => new Date(time).toISOString().slice(11, 19);
const minuteOf = (time) => timeOf(time).slice(0, 5);
const leftAt = (trade) => {
  const [date, time] = [dateOf(trade.exitTime), timeOf(trade.exitTime)];
  return date === dateOf(trade.entryTime) ? time : `${date} ${time}`;
};
const price = (dollars) => dollars.toFixed(4).replace(/0{1,2}$/, "");
const signed = (dollars) => {
  const text = dollars.toFixed(2);
  return Number(text) > 0 ? `+${text}` : text.replace(/^-(0\.00)$/, "$1");
};
const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const span = (seconds) => {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${two(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
};
// The charts take some markup in texts; what comes from outside must not be any.
const plain = (text) => text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);

// -- the data ---------------------------------------------------------------------------------------------------------

async function unpacked(id) {
  const packed = Uint8Array.from(atob(at(id).textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function take(read) {
  data = read;
  data.trades = data.trades.map(([symbol, day, qty, entryTime, entryPrice, exitTime, exitPrice, gross, reason, profit]) => ({
    symbol: data.symbols[symbol], place: symbol, day, qty, entryTime, entryPrice, exitTime, exitPrice, gross, profit, reason,
    hold: (exitTime - entryTime) / 1000,
  }));
  barsOf = new Map(data.bars.map((row) => [`${row[0]}/${row[1]}`, row]));
}

/** The bars of one symbol and day as columns of dollars. */
function bars(symbol, day) {
  const columns = { time: [], open: [], close: [], high: [], low: [] };
  const row = barsOf.get(`${symbol}/${day}`);
  if (!row) return columns;
  const [, , unit, minutes, opens, closes, highs, lows] = row;
  let minute = 0;
  let close = 0;
  minutes.forEach((step, n) => {
    minute += step;
    const open = close + opens[n];
    close += closes[n];
    columns.time.push(minute * MINUTE);
    columns.open.push(open / unit);
    columns.close.push(close / unit);
    columns.high.push((Math.max(open, close) + highs[n]) / unit);
    columns.low.push((Math.min(open, close) - lows[n]) / unit);
  });
  return columns;
}

function average(closes, of) {
  let sum = 0;
  return closes.map((close, n) => {
    sum += close - (n >= of ? closes[n - of] : 0);
    return n + 1 < of ? null : sum / of;
  });
}

/** The lines of a symbol and day: those among its prices, and those that need an axis of their own. */
function linesOf(symbol, day, low, high) {
  const rows = data.lines.filter((row) => row[0] === symbol && row[1] === day);
  const [bottom, top] = [Math.min(...low) * 0.9, Math.max(...high) * 1.1];
  const isAmong = ([, , , , values]) => values.every((value) => value >= bottom && value <= top);
  return { among: rows.filter(isAmong), below: rows.filter((row) => !isAmong(row)) };
}

// -- the charts -------------------------------------------------------------------------------------------------------

const canDraw = () => typeof Plotly !== "undefined"; // the library comes last
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function layout(more) {
  const axis = { gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line") };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "zoom",
    font: { color: color("quiet"), size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 58, r: 14, t: 8, b: 34 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: color("text") } },
    hoverlabel: { bgcolor: color("panel"), bordercolor: color("line"), font: { color: color("text") } },
    ...more,
  };
  for (const name of ["xaxis", "yaxis", "yaxis2"]) if (base[name]) base[name] = { ...axis, ...base[name] };
  return base;
}

/** Marks in the chart of candles: `points` are [time, price, text]; `away` px from the price, along the angle. */
function marks(name, points, symbol, hue, size, more) {
  return {
    type: "scatter", mode: "markers", name, hoverinfo: "text",
    x: points.map((point) => point[0]), y: points.map((point) => point[1]), text: points.map((point) => point[2]),
    marker: { symbol, size, color: color(hue), line: { width: 1, color: color("panel") }, ...more },
  };
}

/** A mark that stands off from its price would stand off from its word in the legend too: there it has another one. */
const withKey = (trace) => (trace.marker?.standoff ? [
  { ...trace, x: [null], y: [null], text: [""], marker: { ...trace.marker, standoff: 0 }, legendgroup: trace.name },
  { ...trace, showlegend: false, legendgroup: trace.name },
] : [trace]);

function drawCandles() {
  if (!canDraw()) return;
  const symbol = Number(at("symbol").value);
  const day = Number(at("day").value);
  const { time, open, close, high, low } = bars(symbol, day);
  const here = (row) => row[0] === symbol && row[1] === day;
  const trades = data.trades.filter((trade) => trade.place === symbol && trade.day === day);
  const held = data.held.filter(here);
  const ended = data.orders.filter(here);
  // A candle covers its minute, so that what happened within it is drawn upon it.
  const middles = time.map((start) => start + MINUTE / 2);
  const said = (n) => `${minuteOf(time[n])}  open ${price(open[n])}<br>high ${price(high[n])}, low ${price(low[n])}`
    + `<br>close ${price(close[n])}`;
  const entries = [
    ...trades.map((t) => [t.entryTime, t.entryPrice, `${timeOf(t.entryTime)} in: ${t.qty} at ${price(t.entryPrice)}`]),
    ...held.map((h) => [h[3], h[4], `${timeOf(h[3])} in, and still held: ${h[2]}, entry ${price(h[4])}`]),
  ];
  const out = (t) => [t.exitTime, t.exitPrice,
    `${timeOf(t.exitTime)} out (${plain(t.reason)}): ${t.qty} at ${price(t.exitPrice)}<br>${signed(t.profit)} $ net in ${
      span(t.hold)}`];
  const cancels = ended.map(([, , side, status, when, limit]) => {
    // A market order has no price: it is marked where the market was.
    const row = time.findLastIndex((start) => start <= when);
    const level = limit ?? (row < 0 ? null : close[row]);
    return [when, level, `${timeOf(when)} ${plain(side)} ${plain(status)}${limit === null ? "" : `: ${price(limit)}`}`];
  });
  const stopped = (kind) => data.stopped.filter((row) => here(row) && row[2] === kind).map(([, , , when, why]) => {
    const row = time.findLastIndex((start) => start <= when);
    return [when, row < 0 ? null : close[row], `${timeOf(when)} ${kind}: ${plain(why)}`];
  });
  const { among, below } = linesOf(symbol, day, low, high);
  const hues = ["average", "curve", "cancel", "win", "loss"];
  const places = new Map(time.map((start, n) => [start, n]));
  const isAfterGap = (times, n) => n > 0 && places.get(times[n]) - places.get(times[n - 1]) > 1;
  const drawn = ([, , name, times, values], n, axis) => ({ type: "scatter", mode: "lines", name: plain(name), yaxis: axis,
    x: times.flatMap((start, n) => [...(isAfterGap(times, n) ? [null] : []), start + MINUTE / 2]),
    y: values.flatMap((value, n) => [...(isAfterGap(times, n) ? [null] : []), value]), line: { color: color(hues[n % hues.length]), width: 1.5 },
    hovertemplate: `%{x|%H:%M} ${plain(name)} %{y:.4~g}<extra></extra>` });
  const exits = EXITS.map(([name, shape, size]) => marks(name, trades.filter((t) => EXITS.find((e) => e[3](t.reason))[0]
    === name).map(out), shape, "exit", size, name === "exit" ? ABOVE : {}));
  const ring = chosen && trades.includes(chosen)
    ? [[chosen.entryTime, chosen.entryPrice, ""], [chosen.exitTime, chosen.exitPrice, ""]] : [];
  const path = { x: [], y: [] };
  for (const t of trades) {
    path.x.push(t.entryTime, t.exitTime, null);
    path.y.push(t.entryPrice, t.exitPrice, null);
  }
  const one = (hue) => ({ line: { color: color(hue), width: 1 }, fillcolor: color(hue) });
  Plotly.react("candles", [
    { type: "candlestick", name: "minutes", x: middles, open, high, low, close, text: time.map((_, n) => said(n)),
      hoverinfo: "text", increasing: one("up"), decreasing: one("down"), showlegend: false },
    ...(data.average ? [{ type: "scatter", mode: "lines", name: `${data.average}-bar average`, x: middles,
      y: average(close, data.average), hoverinfo: "skip", line: { color: color("average"), width: 1.5 } }] : []),
    ...among.map((row, n) => drawn(row, n + Number(Boolean(data.average)), "y")),
    ...below.map((row, n) => drawn(row, n + among.length + Number(Boolean(data.average)), "y2")),
    { type: "scatter", mode: "lines", name: "held", ...path, hoverinfo: "skip", showlegend: false,
      line: { color: color("quiet"), width: 1, dash: "dot" } },
    { ...marks("chosen", ring, "circle-open", "text", 26, { line: { width: 2, color: color("text") } }),
      hoverinfo: "skip", showlegend: false },
    ...exits,
    marks("canceled", cancels, "x", "cancel", 8),
    marks("signal blocked", stopped("blocked"), "circle-open", "cancel", 9, { line: { width: 2, color: color("cancel") } }),
    marks("order rejected", stopped("rejected"), "x-open", "loss", 9, { line: { width: 2, color: color("loss") } }),
    marks("entry", entries, "triangle-up", "entry", 11, { standoff: 6 }),
  ].filter((trace) => trace.type !== "scatter" || trace.mode !== "markers" || trace.x.length).flatMap(withKey), layout({
    xaxis: { type: "date", anchor: below.length ? "y2" : "y", rangeslider: { visible: false }, tickformat: "%H:%M", hoverformat: "%H:%M" },
    yaxis: { tickformat: Math.min(...low) < 1 ? ".4f" : ",.2f", tickprefix: "$", domain: below.length ? [0.28, 1] : [0, 1] },
    ...(below.length ? { yaxis2: { domain: [0, 0.22], nticks: 4 } } : {}),
    uirevision: `${symbol}/${day}`, // the zoom stays when only the colours change
  }), CONFIG);
  const profit = trades.reduce((sum, trade) => sum + trade.profit, 0);
  at("chosen").textContent = `${data.symbols[symbol]}, ${data.days[day]}: ${counted(time.length, "bar")}, `
    + `${counted(trades.length, "trade")}, ${signed(profit)} $ net`
    + (held.length ? ", still held at the end." : ".");
  at("stops").textContent = below.length ? "What the algo plots and lies not among the prices is below them." : "";
  at("before").disabled = step(-1) === null;
  at("after").disabled = step(1) === null;
}

/** Each day is as wide as the next, whatever nights and weekends lie between. */
function dayAxis() {
  const [times] = data.equity;
  const within = times.map((time) => time % DAY);
  const open = Math.min(570 * MINUTE, ...within);
  const close = Math.max(960 * MINUTE, ...within);
  const place = new Map(data.days.map((day, n) => [day, n]));
  const x = times.map((time, n) => place.get(dateOf(time)) + (within[n] - open) / (close - open));
  const ticks = { vals: [], text: [] };
  if (data.days.length === 1) {
    for (let time = Math.ceil(open / (60 * MINUTE)) * 60 * MINUTE; time <= close; time += 60 * MINUTE) {
      ticks.vals.push((time - open) / (close - open));
      ticks.text.push(minuteOf(time));
    }
  } else {
    const every = Math.ceil(data.days.length / Math.max(2, Math.floor(at("equity").clientWidth / 110)));
    for (let n = 0; n < data.days.length; n += every) {
      ticks.vals.push(n);
      ticks.text.push(data.days[n]);
    }
  }
  return { x, ticks };
}

function drawEquity() {
  const { x, ticks } = dayAxis();
  const [times, profits, drawdowns] = data.equity;
  const end = Math.max(1, data.days.length);
  const curve = (values) => {
    const dollars = values.map((micros) => micros / 1e6);
    return [0, ...dollars, dollars.at(-1) ?? 0];
  };
  const line = (name, values, hue, more) => ({
    type: "scatter", mode: "lines", name, x: [0, ...x, end], y: curve(values), hoverinfo: "text",
    text: ["", ...times.map((time, n) => `${dateOf(time)} ${timeOf(time)}<br>${name} ${signed(values[n] / 1e6)} $`), ""],
    line: { color: color(hue), width: 1.5, shape: "hv" }, showlegend: false, ...more,
  });
  Plotly.react("equity", [
    line("profit", profits, "curve"),
    line("drawdown", drawdowns, "loss", { yaxis: "y2", fill: "tozeroy", fillcolor: `${color("loss")}40`, line: { color: color("loss"), width: 1,
      shape: "hv" } }),
  ], layout({
    xaxis: { range: [0, end], tickvals: ticks.vals, ticktext: ticks.text, anchor: "y2", zeroline: false },
    yaxis: { domain: [0.4, 1], title: { text: "net $" } },
    yaxis2: { domain: [0, 0.32], title: { text: "drawdown $" }, rangemode: "tozero", nticks: 4 },
    margin: { l: 68, r: 14, t: 8, b: 34 },
  }), CONFIG);
}

function drawHolds() {
  const names = HOLDS.map((bin) => bin[1]);
  const group = (name, hue, test) => {
    const counts = HOLDS.map(() => 0);
    for (const trade of data.trades) if (test(trade)) counts[HOLDS.findIndex((bin) => trade.hold < bin[0])] += 1;
    return { type: "bar", name, x: names, y: counts, marker: { color: color(hue) },
      hovertemplate: `%{x}: %{y} ${name}<extra></extra>` };
  };
  Plotly.react("holds", [
    group("won", "win", (trade) => trade.profit > 0),
    group("even", "flat", (trade) => trade.profit === 0),
    group("lost", "loss", (trade) => trade.profit < 0),
  ], layout({ barmode: "stack", bargap: 0.35,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", font: { color: color("text") } },
    xaxis: { type: "category", automargin: true }, yaxis: { title: { text: "trades" } } }),
  CONFIG);
}

/** Sums of net by what trades have in common, as bars; `key` gives a trade's group. */
function drawSums(id, key, order) {
  const sums = new Map();
  for (const trade of data.trades) {
    const [net, count] = sums.get(key(trade)) ?? [0, 0];
    sums.set(key(trade), [net + trade.profit, count + 1]);
  }
  const names = [...sums.keys()].sort(order);
  const nets = names.map((name) => sums.get(name)[0]);
  Plotly.react(id, [{
    type: "bar", x: names.map(plain), y: nets, marker: { color: nets.map((net) => color(net < 0 ? "loss" : "win")) },
    text: names.map((name) => `${plain(name)}<br>${signed(sums.get(name)[0])} $ net, ${counted(sums.get(name)[1], "trade")}`),
    hoverinfo: "text", textposition: "none",
  }], layout({ bargap: 0.35, xaxis: { type: "category", automargin: true }, yaxis: { title: { text: "net $" } } }), CONFIG);
}

function drawMarkouts() {
  const bars = (side, hue) => {
    const rows = data.markouts.filter((row) => row[0] === side);
    return { type: "bar", name: `after the ${side}`, x: rows.map((row) => `${row[1]} s`), y: rows.map((row) => row[2]),
      marker: { color: color(hue) }, hovertemplate: `%{x} after the ${side}: %{y:+.2f} cents a share<extra></extra>` };
  };
  Plotly.react("markouts", [bars("entry", "entry"), bars("exit", "exit")],
    layout({ bargap: 0.35, xaxis: { type: "category", automargin: true }, yaxis: { title: { text: "cents a share" } } }), CONFIG);
}

// -- the calendar -----------------------------------------------------------------------------------------------------

/** A field a day, Monday to Friday, as green or red as its net is large beside the largest. */
function drawCalendar() {
  const section = at("calendar").closest("section");
  section.hidden = data.sums.length < 2;
  if (section.hidden) return;
  const most = Math.max(...data.sums.map((row) => Math.abs(row[1])), 1e-9);
  const months = new Map();
  for (const row of data.sums) {
    const month = row[0].slice(0, 7);
    if (!months.has(month)) months.set(month, []);
    months.get(month).push(row);
  }
  at("calendar").replaceChildren(...[...months].map(([month, rows]) => {
    const box = document.createElement("div");
    const title = document.createElement("h3");
    const net = rows.reduce((sum, row) => sum + row[1], 0);
    title.textContent = `${MONTHS[Number(month.slice(5)) - 1]} ${month.slice(0, 4)}: ${signed(net)} $`;
    const grid = document.createElement("div");
    grid.className = "days";
    for (const [date, amount, trades] of rows) {
      const time = new Date(`${date}T00:00Z`);
      const field = document.createElement("button");
      field.type = "button";
      field.style.gridColumn = (time.getUTCDay() + 6) % 7 + 1;
      field.className = amount < 0 ? "lost" : "won";
      field.style.setProperty("--part", `${Math.round(10 + 50 * Math.abs(amount) / most)}%`);
      const [day, sum] = [document.createElement("span"), document.createElement("span")];
      day.className = "date";
      day.textContent = time.getUTCDate();
      sum.textContent = trades || amount ? signed(amount) : "-";
      field.append(day, sum);
      field.setAttribute("aria-label", `${date}: ${signed(amount)} $ net, ${counted(trades, "trade")}`);
      field.title = field.getAttribute("aria-label");
      field.addEventListener("click", () => showDay(date));
      grid.append(field);
    }
    box.append(title, grid);
    return box;
  }));
}

/** The chart of that day: of the chosen symbol if it has one, else of the first that has. */
function showDay(date) {
  const day = data.days.indexOf(date);
  const now = Number(at("symbol").value);
  const symbol = [now, ...data.symbols.keys()].find((place) => daysOf(place).includes(day));
  if (symbol === undefined) return;
  chooseSymbol(symbol, day);
  at("candles").closest("section").scrollIntoView({ block: "start" });
}

// -- choosing ---------------------------------------------------------------------------------------------------------

function fill(select, texts) {
  texts.forEach((text, n) => select.add(new Option(text, n)));
}

/** The days on which a symbol has anything to show. */
function daysOf(symbol) {
  const days = new Set();
  for (const rows of [data.bars, data.held, data.orders, data.stopped]) for (const row of rows) if (row[0] === symbol) days.add(row[1]);
  for (const trade of data.trades) if (trade.place === symbol) days.add(trade.day);
  return [...days].sort((a, b) => a - b);
}

/** Zoom to a trade and mark it, in the chart and in the table. */
function showTrade(trade) {
  chosen = trade;
  chooseSymbol(trade.place, trade.day);
  const { time, low, high } = bars(trade.place, trade.day);
  const [from, to] = [trade.entryTime - AROUND, trade.exitTime + AROUND];
  const seen = time.flatMap((start, n) => (start >= from && start <= to ? [low[n], high[n]] : []));
  seen.push(trade.entryPrice, trade.exitPrice);
  const [bottom, top] = [Math.min(...seen), Math.max(...seen)];
  const margin = (top - bottom || top / 1000) * 0.15;
  if (canDraw()) Plotly.relayout("candles", { "xaxis.range": [from, to], "yaxis.range": [bottom - margin, top + margin] });
  for (const row of at("trades").tBodies[0].rows) {
    if (sorted[row.dataset.n] === trade) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
  at("candles").closest("section").scrollIntoView({ block: "start" });
}

function chooseSymbol(symbol, day) {
  at("symbol").value = symbol;
  const days = daysOf(symbol);
  at("day").replaceChildren(...days.map((n) => new Option(data.days[n], n)));
  at("day").value = days.includes(day) ? day : days[0];
  drawCandles();
  if (at("only").checked) showTrades();
}

/** The day so many steps from the chosen one, null where there is none. */
function step(by) {
  const option = at("day").options[at("day").selectedIndex + by];
  return option ? Number(option.value) : null;
}

// -- tables -----------------------------------------------------------------------------------------------------------

/** Headings that sort; `sort(column, sign)` does it. Numbers start with the largest, words with the first. */
function sortable(table, sort, isNumber) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.classList.toggle("number", isNumber(column));
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const isUp = before ? before === "descending" : !isNumber(column);
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
      sort(column, isUp ? 1 : -1);
    });
  });
}

const compared = (a, b) => (a < b ? -1 : Number(a > b));

function sortTrades(column, sign) {
  const key = COLUMNS[column][1];
  sorted.sort((a, b) => sign * compared(key(a), key(b)));
  showTrades();
}

function sortRows(table, column, sign) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === undefined) return cell.textContent;
    return value === "" ? null : Number(value);
  };
  const rows = [...body.rows].sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    return sign * compared(left, right);
  });
  body.replaceChildren(...rows);
}

function showTrades() {
  const symbol = Number(at("symbol").value);
  const day = Number(at("day").value);
  const numbers = [...sorted.keys()];
  const wanted = at("only").checked
    ? numbers.filter((n) => sorted[n].place === symbol && sorted[n].day === day) : numbers;
  const shown = isLong ? wanted : wanted.slice(0, ROWS);
  at("trades").tBodies[0].replaceChildren(...shown.map((n, place) => {
    const trade = sorted[n];
    const row = document.createElement("tr");
    row.dataset.n = n;
    row.tabIndex = place ? -1 : 0; // the arrows lead to the others
    if (trade === chosen) row.setAttribute("aria-current", "true");
    COLUMNS.forEach(([head, , text, isNumber]) => {
      const cell = row.insertCell();
      cell.textContent = text(trade);
      if (isNumber) cell.classList.add("number");
      if (head === "Net $" && trade.profit) cell.classList.add(trade.profit > 0 ? "win" : "loss");
    });
    return row;
  }));
  at("count").textContent = `${counted(wanted.length, "trade")}.`;
  at("more").hidden = shown.length === wanted.length;
  at("more").textContent = `Show all ${wanted.length}`;
}

// -- the beginning ----------------------------------------------------------------------------------------------------

// All but the candles, which follow the choice.
const SUMMARIES = {
  equity: drawEquity,
  holds: drawHolds,
  hours: () => drawSums("hours", (trade) => `${timeOf(trade.entryTime).slice(0, 2)}:00`),
  reasons: () => drawSums("reasons", (trade) => trade.reason),
  markouts: drawMarkouts,
};

function draw() {
  if (data.symbols.length) drawCandles();
  for (const id of Object.keys(SUMMARIES)) if (at(id).firstChild) SUMMARIES[id]();
}

/** Each summary is drawn when it comes into view: until then it costs the beginning nothing. */
function drawWhenSeen() {
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      SUMMARIES[target.id]();
    }
  }, { rootMargin: "300px" });
  for (const id of Object.keys(SUMMARIES)) watch.observe(at(id));
  addEventListener("beforeprint", () => Object.values(SUMMARIES).forEach((drawn) => drawn()));
}

/** The trade of a row of the table that an event came from. */
const tradeOf = (event) => sorted[event.target.closest("tr").dataset.n];

function onTradesKey(event) {
  const row = event.target.closest("tr");
  if (event.key === "Enter" || event.key === " ") showTrade(tradeOf(event));
  else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
  else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
  else return;
  event.preventDefault();
}

/** All that needs no charts, so that it is there before the library is. */
function begin() {
  fill(at("symbol"), data.symbols);
  sorted = [...data.trades];
  const heads = at("trades").tHead.insertRow();
  for (const [text] of COLUMNS) {
    const head = document.createElement("th");
    head.textContent = text;
    heads.append(head);
  }
  sortable(at("trades"), sortTrades, (column) => COLUMNS[column][3]);
  for (const table of document.querySelectorAll("table.sortable")) {
    const first = table.tBodies[0].rows[0];
    sortable(table, (column, sign) => sortRows(table, column, sign),
      (column) => first !== undefined && first.cells[column].classList.contains("number"));
  }
  at("symbol").addEventListener("change", () => chooseSymbol(Number(at("symbol").value), Number(at("day").value)));
  at("day").addEventListener("change", () => chooseSymbol(Number(at("symbol").value), Number(at("day").value)));
  for (const [id, by] of [["before", -1], ["after", 1]]) {
    at(id).addEventListener("click", () => chooseSymbol(Number(at("symbol").value), step(by)));
  }
  at("only").addEventListener("change", showTrades);
  at("more").addEventListener("click", () => {
    isLong = true;
    showTrades();
  });
  at("trades").tBodies[0].addEventListener("click", (event) => showTrade(tradeOf(event)));
  at("trades").tBodies[0].addEventListener("keydown", onTradesKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  drawCalendar();
  at("markouts").closest(".small").hidden = !data.markouts.length;
  // The first symbol that traded is more telling than one that did not.
  const [telling] = data.trades;
  if (data.symbols.length) chooseSymbol(telling ? telling.place : 0, telling ? telling.day : 0);
  showTrades();
}

(async () => {
  try {
    take(JSON.parse(await unpacked("data")));
    begin();
    performance.mark("listed");
    const text = unpacked("library"); // meanwhile what is there is painted
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const library = document.createElement("script");
    library.textContent = await text;
    document.head.append(library);
    if (data.symbols.length) drawCandles();
    performance.mark("drawn");
    drawWhenSeen();
    document.body.dataset.state = "drawn";
  } catch (error) {
    at("trouble").hidden = false;
    at("trouble").textContent = `The charts cannot be drawn: ${error}. A browser of 2023 or later is needed.`;
    document.body.dataset.state = "failed";
    throw error;
  }
})();
