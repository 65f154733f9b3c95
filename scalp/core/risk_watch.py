"""Carries out the risk rules: refuses the buys that they forbid, and closes the positions that they want closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scalp.core.algo import ScalpAlgo
from scalp.core.bus import EventBus
from scalp.core.commands import Action, SubmitOrder
from scalp.core.events import RiskRuleStruck
from scalp.core.exits import Plan
from scalp.core.recording import Recording
from scalp.core.risk_rules import RiskRules


class RiskWatch:
    """Over `algos`. `perform` carries out the actions of leaving a symbol, `trouble` is called where that fails."""

    def __init__(
        self,
        algos: Mapping[str, ScalpAlgo],
        bus: EventBus,
        record: Recording,
        perform: Callable[[ScalpAlgo, Sequence[Action]], None],
        trouble: Callable[[ScalpAlgo], None],
    ) -> None:
        self._rules: RiskRules | None = None
        self._algos = algos
        self._bus = bus
        self._now = bus.now
        self._record = record
        self._perform = perform
        self._trouble = trouble
        self._is_over = False  # the session's loss was too high, and that was reported

    @property
    def rules(self) -> RiskRules | None:
        """Asked before a buy leaves, and whether to close a position; None: there is no rule."""
        return self._rules

    @rules.setter
    def rules(self, rules: RiskRules | None) -> None:
        self._rules = rules
        for algo in self._algos.values():
            algo.stop.rule = None if rules is None else rules.limits.stop

    def allowed(self, algo: ScalpAlgo, actions: Sequence[Action], rules: RiskRules) -> list[Action]:
        """`actions` without the buys that a risk rule forbids: those are refused, as the broker might have."""
        allowed = []
        for action in actions:
            if isinstance(action, SubmitOrder) and not action.is_exit:
                at = self._now()
                rules.look(algo, at)
                if why := rules.why_no_entry(algo, at):
                    allowed += algo.on_submit_rejected(action.client_order_id, why, at)
                    self._record.refused(algo.symbol, action.client_order_id, why, at)
                    continue
            allowed.append(action)
        return allowed

    def watch(self, algo: ScalpAlgo, rules: RiskRules) -> None:
        """Something happened to `algo`: close its position if a risk rule says so, or all at once."""
        at = self._now()
        rules.look(algo, at)
        if rules.is_over and not self._is_over:
            self.obey(rules)
        elif (why := rules.why_close(algo, at)) and algo.exits.plan is Plan.OFFER:
            self._close_position(algo, why)

    def obey(self, rules: RiskRules) -> None:
        """Close every position that a risk rule calls for."""
        if rules.is_over and not self._is_over:
            self._is_over = True
            for algo in self._algos.values():
                algo.entry_blocks.block("rails", rules.verdict)
            self._bus.tell(RiskRuleStruck("", self._now(), rules.verdict))
        for algo in self._algos.values():
            if (why := rules.why_close(algo, self._now())) and algo.exits.plan is Plan.OFFER:
                self._close_position(algo, why)
        self._bus.settle()

    def why_no_entry(self, algo: ScalpAlgo) -> str:
        """Why no buy may leave just now; "" if it may."""
        return self.rules.why_no_entry(algo, self._now()) if self.rules is not None else ""

    @property
    def is_closing(self) -> bool:
        """Whether any position is being closed."""
        return self.rules is not None and any(algo.exits.plan is Plan.RISK_RULE for algo in self._algos.values())

    def _close_position(self, algo: ScalpAlgo, why: str) -> None:
        try:
            actions = algo.close_position(Plan.RISK_RULE, why, self._now())
        except Exception:
            self._trouble(algo)
            return
        self._perform(algo, actions)
