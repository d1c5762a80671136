"""Tidegate that bounds or leads traffic, each in one way, before a proxied call. No bound is ever reached."""

from proxies.tidegate_policies import WithPolicy


class Counted(WithPolicy):
    """Calls of a month."""

    NAME = "Tidegate, a quota"

    def policies(self):
        return [{"quota": {"limit": 1_000_000_000, "per": "month", "key": "clientAddress"}}]


class Shed(WithPolicy):
    """A limit that finds its level, and the CPU looked at, with priorities by conditions."""

    NAME = "Tidegate, load shed"

    def policies(self):
        priorities = [{"when": "request.path.startsWith('/pay')", "priority": "high"}]
        # So many that nobody is refused, whatever the limit takes for the right one.
        return [{"loadShed": {"minLimit": 1000, "maxLimit": 2000, "cpu": 100, "priorities": priorities}}]


class Divided(WithPolicy):
    """Places that are divided among classes."""

    NAME = "Tidegate, places by class"

    def policies(self):
        classes = [{"name": "pay", "when": "request.path.startsWith('/pay')", "weight": 4}, {"name": "rest"}]
        return [{"priority": {"maxConcurrent": 1000, "classes": classes}}]


class Slowed(WithPolicy):
    """A pace that no transfer reaches."""

    NAME = "Tidegate, a pace"

    def policies(self):
        return [{"bandwidth": {"response": {"perSecond": "1GiB", "burst": "100MiB"}}}]


class Moved(WithPolicy):
    """Half of the callers on the new side, which is the same upstream by another name."""

    NAME = "Tidegate, callers that move"

    def config(self):
        config = super().config()
        [mock] = config["upstreams"]
        return {**config, "upstreams": [mock, {**mock, "name": "new"}]}

    def policies(self):
        rules = [{"name": "all", "to": "new", "percent": 50}]
        return [{"strangler": {"rules": rules, "fallback": {"failureRate": 50}}}]


class Mirrored(Moved):
    """Each call once more at another upstream, whose answer is compared."""

    NAME = "Tidegate, mirrored and compared"

    def policies(self):
        return [{"mirror": {"upstream": "new", "diff": {}}}]
