"use strict";

// The data, as payload.py beside this packs it. Times are New York's wall clock in ms since 1970, "as if UTC"; symbols
// and days are places in `symbols` and `days`.
//   bars    [symbol, day, unit, minutes, opens, closes, highs, lows]    differences, in 1/unit dollars
//   trades  [symbol, day, qty, entry time, entry price, exit time, exit price, gross, reason, net]
//   held    [symbol, day, qty, entry time, entry price]
//   orders  [symbol, day, side, status, time, limit price or null]      those that ended without filling whole
//   equity  [times, profits, drawdowns]                                 in millionths of a dollar

const MINUTE = 60000;
const DAY = 1440 * MINUTE;
const AVERAGE_OF = 20;
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
  ["Hold", (t) => t.hold, (t) => span(t.hold), true],
  ["Gross $", (t) => t.gross, (t) => signed(t.gross), true],
  ["Net $", (t) => t.profit, (t) => signed(t.profit), true],
  ["By", (t) => t.reason, (t) => t.reason, false],
];

let data; // see above; `trades` as objects
let barsOf; // "symbol/day" -> a row of data.bars
let sorted = []; // the trades as the table has them
let isLong = false; // whether the table shows all of them

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

function average(closes) {
  let sum = 0;
  return closes.map((close, n) => {
    sum += close - (n >= AVERAGE_OF ? closes[n - AVERAGE_OF] : 0);
    return n + 1 < AVERAGE_OF ? null : sum / AVERAGE_OF;
  });
}

// -- the charts -------------------------------------------------------------------------------------------------------

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

/** Marks in the chart of candles: `points` are [time, price, text]. */
function marks(name, points, symbol, hue, size) {
  return {
    type: "scatter", mode: "markers", name, hoverinfo: "text",
    x: points.map((point) => point[0]), y: points.map((point) => point[1]), text: points.map((point) => point[2]),
    marker: { symbol, size, color: color(hue), line: { width: 1, color: color("panel") } },
  };
}

function drawCandles() {
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
    `${timeOf(t.exitTime)} out: ${t.qty} at ${price(t.exitPrice)}<br>${signed(t.profit)} $ net in ${span(t.hold)}`];
  const cancels = ended.map(([, , side, status, when, limit]) => {
    // A market order has no price: it is marked where the market was.
    const row = time.findLastIndex((start) => start <= when);
    const level = limit ?? (row < 0 ? null : close[row]);
    return [when, level, `${timeOf(when)} ${plain(side)} ${plain(status)}${limit === null ? "" : `: ${price(limit)}`}`];
  });
  const path = { x: [], y: [] };
  for (const t of trades) {
    path.x.push(t.entryTime, t.exitTime, null);
    path.y.push(t.entryPrice, t.exitPrice, null);
  }
  const one = (hue) => ({ line: { color: color(hue), width: 1 }, fillcolor: color(hue) });
  Plotly.react("candles", [
    { type: "candlestick", name: "minutes", x: middles, open, high, low, close, text: time.map((_, n) => said(n)),
      hoverinfo: "text", increasing: one("up"), decreasing: one("down"), showlegend: false },
    { type: "scatter", mode: "lines", name: `${AVERAGE_OF}-bar average`, x: middles, y: average(close),
      hoverinfo: "skip", line: { color: color("average"), width: 1.5 } },
    { type: "scatter", mode: "lines", name: "held", ...path, hoverinfo: "skip", showlegend: false,
      line: { color: color("quiet"), width: 1, dash: "dot" } },
    marks("entry", entries, "triangle-up", "entry", 11),
    marks("exit", trades.filter((t) => t.reason !== "liquidation").map(out), "triangle-down", "exit", 11),
    marks("liquidation", trades.filter((t) => t.reason === "liquidation").map(out), "square", "exit", 9),
    marks("canceled", cancels, "x", "cancel", 8),
  ], layout({
    xaxis: { type: "date", rangeslider: { visible: false }, tickformat: "%H:%M", hoverformat: "%H:%M" },
    yaxis: { tickformat: Math.min(...low) < 1 ? ".4f" : ",.2f", tickprefix: "$" },
    uirevision: `${symbol}/${day}`, // the zoom stays when only the colours change
  }), CONFIG);
  const profit = trades.reduce((sum, trade) => sum + trade.profit, 0);
  const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
  at("chosen").textContent = `${data.symbols[symbol]}, ${data.days[day]}: ${counted(time.length, "bar")}, `
    + `${counted(trades.length, "trade")}, ${signed(profit)} $ net`
    + (held.length ? ", still held at the end." : ".");
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
    yaxis: { domain: [0.4, 1], title: { text: "profit" } },
    yaxis2: { domain: [0, 0.32], title: { text: "drawdown" }, rangemode: "tozero", nticks: 4 },
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
    xaxis: { type: "category" }, yaxis: { title: { text: "trades" } } }),
  CONFIG);
}

// -- choosing ---------------------------------------------------------------------------------------------------------

function fill(select, texts) {
  texts.forEach((text, n) => select.add(new Option(text, n)));
}

/** The days on which a symbol has anything to show. */
function daysOf(symbol) {
  const days = new Set();
  for (const rows of [data.bars, data.held, data.orders]) for (const row of rows) if (row[0] === symbol) days.add(row[1]);
  for (const trade of data.trades) if (trade.place === symbol) days.add(trade.day);
  return [...days].sort((a, b) => a - b);
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
  const wanted = at("only").checked ? sorted.filter((t) => t.place === symbol && t.day === day) : sorted;
  const shown = isLong ? wanted : wanted.slice(0, ROWS);
  at("trades").tBodies[0].replaceChildren(...shown.map((trade) => {
    const row = document.createElement("tr");
    COLUMNS.forEach(([head, , text, isNumber]) => {
      const cell = row.insertCell();
      cell.textContent = text(trade);
      if (isNumber) cell.classList.add("number");
      if (head === "Net $" && trade.profit) cell.classList.add(trade.profit > 0 ? "win" : "loss");
    });
    row.addEventListener("click", () => {
      chooseSymbol(trade.place, trade.day);
      at("candles").closest("section").scrollIntoView({ block: "start" });
    });
    return row;
  }));
  at("count").textContent = wanted.length === 1 ? "1 trade." : `${wanted.length} trades.`;
  at("more").hidden = shown.length === wanted.length;
  at("more").textContent = `Show all ${wanted.length}`;
}

// -- the beginning ----------------------------------------------------------------------------------------------------

function draw() {
  if (data.symbols.length) drawCandles();
  drawEquity();
  drawHolds();
}

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
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  drawEquity();
  drawHolds();
  // The first symbol that traded is more telling than one that did not.
  const [telling] = data.trades;
  if (data.symbols.length) chooseSymbol(telling ? telling.place : 0, telling ? telling.day : 0);
  showTrades();
}

(async () => {
  try {
    const library = document.createElement("script");
    library.textContent = await unpacked("library");
    document.head.append(library);
    take(JSON.parse(await unpacked("data")));
    begin();
    document.body.dataset.state = "drawn";
  } catch (error) {
    at("trouble").hidden = false;
    at("trouble").textContent = `The charts cannot be drawn: ${error}. A browser of 2023 or later is needed.`;
    document.body.dataset.state = "failed";
    throw error;
  }
})();
