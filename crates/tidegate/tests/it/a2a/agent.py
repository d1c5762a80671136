"""An agent of Python's SDK that speaks 1.0, and 0.3 beside it: agent.py PORT. Repeats what it is told; `slow` works until
it is cancelled."""

import asyncio
import sys
import warnings

import uvicorn
from a2a.helpers.proto_helpers import new_text_part, new_task
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, TaskState
from starlette.applications import Starlette

warnings.simplefilter("ignore")
port = int(sys.argv[1])
own = f"http://127.0.0.1:{port}/"


class Echo(AgentExecutor):
    async def execute(self, context: RequestContext, queue: EventQueue) -> None:
        task = context.current_task
        if task is None:
            task = new_task(context.task_id, context.context_id, TaskState.TASK_STATE_SUBMITTED, history=[context.message])
            await queue.enqueue_event(task)
        updater = TaskUpdater(queue, task.id, task.context_id)
        said = context.get_user_input()
        await updater.start_work(updater.new_agent_message([new_text_part("I begin")]))
        if said == "slow":
            await asyncio.sleep(60)
        for word in said.split():
            await updater.add_artifact([new_text_part(word)], name="echo")
            await asyncio.sleep(0.05)
        if said == "ask":
            await updater.requires_input(updater.new_agent_message([new_text_part("what?")]))
            return
        await updater.complete(updater.new_agent_message([new_text_part("done")]))

    async def cancel(self, context: RequestContext, queue: EventQueue) -> None:
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


interface = lambda version: AgentInterface(url=own, protocol_binding="JSONRPC", protocol_version=version)
card = AgentCard(
    name="Echo", description="Repeats what it is told.", version="1",
    supported_interfaces=[interface("1.0"), interface("0.3"),
                          AgentInterface(url=own + "grpc", protocol_binding="GRPC", protocol_version="1.0")],
    capabilities=AgentCapabilities(streaming=True, push_notifications=True),
    default_input_modes=["text/plain"], default_output_modes=["text/plain"],
    skills=[AgentSkill(id="echo", name="Echo", description="Repeats.", tags=["echo"])],
)
handler = DefaultRequestHandler(agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=card)
app = Starlette(routes=create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True))


async def main():
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await serving


asyncio.run(main())
