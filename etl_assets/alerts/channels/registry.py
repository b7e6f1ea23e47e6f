"""Channels, opened as the rules describe them, with the secrets that the environment holds.

What belongs here: putting rules and secrets together. What does not: any single channel.
"""

from __future__ import annotations

from etl_assets.alerts.channels.base import Channel
from etl_assets.alerts.rules import AppriseRules, EmailRules, Rules, SlackRules
from etl_assets.failures import ConfigurationError
from etl_assets.settings import Settings


def open_channel(settings: Settings, rules: Rules, name: str) -> Channel:
    """Open a channel; nothing is asked of any server yet.

    Args:
        settings: Where the secrets are.
        rules: Who is told of what.
        name: The channel.

    Raises:
        ConfigurationError: If it cannot be used; names the variable, and shows no secret.
    """
    declared = rules.channels[name]
    match declared:
        case SlackRules():
            from etl_assets.alerts.channels.slack import SlackChannel

            mentions = {owner: how.slack for owner, how in rules.owners.items()}
            url = _secret(settings, name, declared.webhook)
            return SlackChannel(url, declared.webhook, mentions, declared.timeout)
        case EmailRules():
            from etl_assets.alerts.channels.email import EmailChannel, MailServer

            server = MailServer.of(_secret(settings, name, declared.server), declared.server)
            owners = {owner: how.email for owner, how in rules.owners.items()} if declared.to_owner else None
            return EmailChannel(server, declared.sender, declared.to, owners, declared.timeout)
        case AppriseRules():
            from etl_assets.alerts.channels.apprise import AppriseChannel

            return AppriseChannel(_secret(settings, name, declared.url), declared.url, declared.timeout)


def _secret(settings: Settings, channel: str, variable: str) -> str:
    secret = settings.secret(variable)
    if secret is None:
        raise ConfigurationError(
            f"{variable} is not set", hint=f"the channel {channel} of the alerts needs it"
        )
    return secret.get_secret_value()
