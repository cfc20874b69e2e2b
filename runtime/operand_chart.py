"""From settings to what renders the operand's chart: for the worker, and for the commands that look at what it does."""

from operand.operand_values import read_operand_values
from operand.rendering import ChartRenderer
from runtime.settings import WorkerSettings


async def renderer_of(settings: WorkerSettings) -> ChartRenderer:
    """What renders the operand's chart, checked.

    Raises:
        ValueError: Helm, the chart or a value is missing or wrong; one sentence that names the setting.
    """
    given = read_operand_values(settings.operand_values, settings.operand_pull_secret)
    renderer = ChartRenderer(settings.chart_path, settings.operand_image, settings.operand_rbac, given=given)
    await renderer.check()
    return renderer
