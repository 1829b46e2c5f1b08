"""The use cases. One method = one unit of work: authorise, change the model, write the timeline, tell others."""

from __future__ import annotations

from kit.module import Runtime
from services.cases.service.chain import Chain
from services.cases.service.clocks import Clocks
from services.cases.service.figures import FiguresService
from services.cases.service.handling import Handling
from services.cases.service.intake import Intake
from services.cases.service.objections import Objections
from services.cases.service.progress import ProgressLookup
from services.cases.service.reading import Reading
from services.cases.service.redirecting import Redirecting


class Cases:
    """All use cases of the service over one chain."""

    def __init__(self, runtime: Runtime):
        self.chain = Chain(runtime)
        self.intake, self.handling, self.clocks = Intake(self.chain), Handling(self.chain), Clocks(self.chain)
        self.objections, self.redirecting = Objections(self.chain), Redirecting(self.chain)
        self.reading = Reading(self.chain)
        self.progress = ProgressLookup(self.chain)
        self.figures = FiguresService(self.chain)
