"""What is measured: attacks on scenarios, their metrics and tables; audits."""

from mibench.study.study import Attacked, Study

__all__ = ["Attacked", "Study"]
