"""An agent of Python's SDK that speaks 0.3 alone: agent_old.py PORT. Repeats what it is told; `slow` works until it is
cancelled."""

import asyncio
import sys
import warnings

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentSkill, Part, TextPart
from a2a.utils import new_task

warnings.simplefilter("ignore")
port = int(sys.argv[1])


def text(words):
    return [Part(root=TextPart(text=words))]


class Echo(AgentExecutor):
    async def execute(self, context: RequestContext, queue: EventQueue) -> None:
        task = context.current_task
        if task is None:
            task = new_task(context.message)
            await queue.enqueue_event(task)
        updater = TaskUpdater(queue, task.id, task.context_id)
        said = context.get_user_input()
        await updater.start_work(updater.new_agent_message(text("I begin")))
        if said == "slow":
            await asyncio.sleep(60)
        for word in said.split():
            await updater.add_artifact(text(word), name="echo")
            await asyncio.sleep(0.05)
        if said == "ask":
            await updater.requires_input(updater.new_agent_message(text("what?")))
            return
        await updater.complete(updater.new_agent_message(text("done")))

    async def cancel(self, context: RequestContext, queue: EventQueue) -> None:
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


card = AgentCard(
    name="Echo", description="Repeats what it is told.", version="1", url=f"http://127.0.0.1:{port}/",
    capabilities=AgentCapabilities(streaming=True, push_notifications=True),
    default_input_modes=["text/plain"], default_output_modes=["text/plain"],
    skills=[AgentSkill(id="echo", name="Echo", description="Repeats.", tags=["echo"])],
)
extended = card.model_copy(update={"description": "Says more to those it knows."})
card = card.model_copy(update={"supports_authenticated_extended_card": True})
handler = DefaultRequestHandler(agent_executor=Echo(), task_store=InMemoryTaskStore())
app = A2AStarletteApplication(agent_card=card, http_handler=handler, extended_agent_card=extended).build()


async def main():
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await serving


asyncio.run(main())
