"""The use cases. One method = one unit of work: authorise, change the model, write the timeline, tell others."""

from __future__ import annotations

from kit.module import Runtime
from services.cases.service.chain import Chain
from services.cases.service.clocks import Clocks
from services.cases.service.closing import Closing
from services.cases.service.figures import FiguresService
from services.cases.service.handling import Handling
from services.cases.service.intake import Intake
from services.cases.service.objections import Objections
from services.cases.service.orders import Orders
from services.cases.service.papers import Papers
from services.cases.service.progress import ProgressLookup
from services.cases.service.reading import Reading
from services.cases.service.receiving import Receiving
from services.cases.service.redirecting import Redirecting
from services.cases.service.supervisions import Supervisions
from services.cases.service.supplements import Supplements
from services.cases.service.suspensions import Suspensions


class Cases:
    """All use cases of the service over one chain."""

    def __init__(self, runtime: Runtime):
        self.chain = Chain(runtime)
        self.orders = Orders(self.chain)
        self.intake, self.handling = Intake(self.chain, self.orders), Handling(self.chain)
        self.supplements, self.receiving = Supplements(self.chain), Receiving(self.chain)
        self.objections, self.redirecting = Objections(self.chain), Redirecting(self.chain)
        self.closing = Closing(self.chain, self.handling)
        self.suspensions, self.supervisions = Suspensions(self.chain), Supervisions(self.chain)
        self.clocks, self.reading = Clocks(self.chain, self.supervisions), Reading(self.chain)
        self.papers = Papers(self.chain, self.reading)
        self.progress = ProgressLookup(self.chain)
        self.figures = FiguresService(self.chain)
