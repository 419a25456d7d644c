"""The words of the report's page in English and French, and the sentences that say what was not
tested.
"""

from __future__ import annotations

from datetime import date

from policies import i18n
from policies.check_kinds import asks_service
from policies.compliance.facts import SiteFacts
from policies.guest_policy import policy_for
from policies.model import Policy, Rung
from policies.service_checks import wanted_rung

# key: (English, French); the names of verdicts stand here too, for headings
CHROME: dict[str, tuple[str, str]] = {
    "title": (
        "Disaster recovery: compliance report",
        "Plan de reprise d'activité (PRA) : rapport de conformité",
    ),
    "site": ("Site", "Site"),
    "cluster": ("Cluster", "Cluster"),
    "period": ("Period", "Période"),
    "generated": ("Generated on", "Produit le"),
    "running": ("month in progress", "mois en cours"),
    "compliant": ("Compliant", "Conforme"),
    "not-compliant": ("Not compliant", "Non conforme"),
    "lead.compliant": (
        "Every guest is proven, every objective is met, and no finding is open.",
        "Chaque invité est prouvé, chaque objectif est tenu, et aucun constat n'est ouvert.",
    ),
    "lead.none": (
        "No guest is known: nothing can be said about recovery.",
        "Aucun invité n'est connu : rien ne peut être dit de la reprise.",
    ),
    "lead.proof": (
        "{proven} of {guests} guests have been restored and checked in time. For the others, "
        "recovery is a hope, not a fact.",
        "Invités restaurés et contrôlés à temps : {proven} sur {guests}. Pour les autres, la "
        "reprise est un espoir, pas un fait.",
    ),
    "lead.findings": (
        "All {guests} guests are proven in time, but findings or objectives are open.",
        "Les {guests} invités sont prouvés à temps, mais des constats ou des objectifs restent "
        "ouverts.",
    ),
    "gaps-count": (
        "Not everything could be read ({count}): see section 5. What is not known is not counted "
        "as good.",
        "Tout n'a pas pu être lu ({count}) : voir la section 5. Ce qui n'est pas connu n'est pas "
        "compté comme bon.",
    ),
    "simulated": (
        "SIMULATED DATA: the guests of this cluster are only modelled. Nothing in this report "
        "proves anything.",
        "DONNÉES SIMULÉES : les invités de ce cluster ne sont que modélisés. Rien dans ce rapport "
        "ne prouve quoi que ce soit.",
    ),
    "tile.proven": ("restored and checked in time", "restaurés et contrôlés à temps"),
    "tile.rpo": ("meet their RPO (data that would be lost)", "tiennent leur RPO (données perdues)"),
    "tile.rto": ("meet their RTO (time to be back)", "tiennent leur RTO (durée de reprise)"),
    "tile.critical": ("critical findings", "constats critiques"),
    "tile.of": ("of {count}", "sur {count}"),
    "first": ("What to do first", "À faire en premier"),
    "more": (
        "All findings are explained in section 2.",
        "Tous les constats sont expliqués en section 2.",
    ),
    "guests": ("Guests and their objectives", "Invités et objectifs"),
    "guest": ("Guest", "Invité"),
    "tier": ("Tier", "Niveau"),
    "rpo": ("RPO: age of the last proven backup", "RPO : âge de la dernière sauvegarde prouvée"),
    "rto": ("RTO: last proven restore", "RTO : dernière restauration prouvée"),
    "proof": ("Last proof", "Dernière preuve"),
    "copies": ("Copies", "Copies"),
    "history": ("History", "Historique"),
    "month": ("Backups in the month", "Sauvegardes du mois"),
    "status": ("Status", "État"),
    "days": ("{count} d", "{count} j"),
    "of.rpo": ("RPO", "RPO"),
    "of.rto": ("RTO", "RTO"),
    "of.proof": ("Proof", "Preuve"),
    "of.copies": ("Copies", "Copies"),
    "of.depth": ("History", "Historique"),
    "of.presence": ("Presence", "Présence"),
    "objective": ("objective {value}", "objectif {value}"),
    "recorded": ("last archive {age} old", "dernière archive : {age}"),
    "no-archive": ("no archive", "aucune archive"),
    "unproven": ("not proven", "non prouvé"),
    "unmeasured": ("not measured", "non mesuré"),
    "never": ("never", "jamais"),
    "ago": ("{age} ago", "il y a {age}"),
    "of-due": ("{taken} taken, {due} due", "{taken} pour {due} dues"),
    "failed-count": ("{count} failed", "échecs : {count}"),
    "met": ("met", "tenu"),
    "breached": ("breached", "non tenu"),
    "unknown": ("unknown", "inconnu"),
    "legend": (
        "Bars: the mark is the objective; beyond it is a breach. RPO counts from the start of the "
        "last proven backup.",
        "Barres : le trait marque l'objectif ; au-delà, il n'est pas tenu. RPO : depuis le début "
        "de la dernière prouvée.",
    ),
    "why": ("Why not", "Pourquoi"),
    "findings": ("Findings", "Constats"),
    "no-findings": ("No finding.", "Aucun constat."),
    "action": ("Action:", "Action :"),
    "colon": (": ", " : "),
    "critical": ("critical", "critique"),
    "warning": ("warning", "avertissement"),
    "info": ("information", "information"),
    "exempted": (
        "Accepted until {until} by {owner}: {reason}",
        "Accepté jusqu'au {until} par {owner} : {reason}",
    ),
    "tests": ("Restore tests of the month", "Tests de restauration du mois"),
    "no-tests": (
        "No restore test ended in this month.",
        "Aucun test de restauration ne s'est terminé ce mois-ci.",
    ),
    "when": ("Ended", "Terminé"),
    "archive": ("Archive", "Archive"),
    "verdict": ("Verdict", "Verdict"),
    "rung": ("Rung", "Échelon"),
    "checks": ("Checks and reasons (as recorded)", "Contrôles et motifs (tels que consignés)"),
    "isolation": (
        "{stripped} thing(s) stripped, {asserted} assertion(s) before the start",
        "retirés : {stripped}, vérifiés : {asserted}",
    ),
    "evidence": ("evidence {id}", "preuve {id}"),
    "proven": ("proven", "prouvé"),
    "failed": ("failed", "échec"),
    "inconclusive": ("inconclusive", "non concluant"),
    "skipped": ("skipped", "ignoré"),
    "simulated-verdict": ("simulated", "simulé"),
    "recorded-rung": ("recorded", "consignée"),
    "intact": ("intact", "intacte"),
    "restored": ("restored", "restaurée"),
    "booted": ("booted", "démarrée"),
    "healthy": ("healthy", "saine"),
    "current": ("current", "à jour"),
    "exemptions": ("Exemptions", "Dérogations"),
    "no-exemptions": ("None.", "Aucune."),
    "owner": ("Owner", "Responsable"),
    "reason": ("Reason", "Motif"),
    "until": ("Until", "Jusqu'au"),
    "expired": ("expired", "expirée"),
    "in-force": ("in force", "en vigueur"),
    "limits": ("Limits: what was not tested", "Limites : ce qui n'a pas été testé"),
    "gaps": ("What could not be read", "Ce qui n'a pas pu être lu"),
    "gaps-lead": (
        "What is not known is never counted as good.",
        "Ce qui n'est pas connu n'est jamais compté comme bon.",
    ),
    "policy": ("Policy applied", "Politique appliquée"),
    "tier-name": ("Tier", "Niveau"),
    "proof-age": ("Proof at least every", "Preuve au moins tous les"),
    "proof-rung": ("Proven when", "Prouvé si"),
    "depth": ("Depth", "Profondeur"),
    "losses": ("If a node were lost", "Si un nœud était perdu"),
    "losses-lead": (
        "By what was within reach when this report was produced: from archives and copies that would "
        "be left, onto nodes with memory, room and networks to spare. What is not known is not "
        "counted as back.",
        "D'après ce qui était accessible quand ce rapport a été produit : depuis les archives et "
        "copies qui resteraient, vers des nœuds ayant mémoire, place et réseaux disponibles. Ce qui "
        "n'est pas connu n'est pas compté comme revenu.",
    ),
    "node": ("Node", "Nœud"),
    "would-return": ("Would come back", "Reviendraient"),
    "not-known": ("Not known", "Inconnu"),
    "would-not": ("Would not", "Ne reviendraient pas"),
    "one-by-one": ("One after the other", "L'un après l'autre"),
    "side-by-side": ("Nodes side by side", "Nœuds en parallèle"),
    "quorum": ("Quorum", "Quorum"),
    "kept": ("kept", "conservé"),
    "lost": ("lost", "perdu"),
    "partly-measured": ("without {count} never measured", "sans {count} jamais mesurés"),
    "no-nodes": ("No node is known.", "Aucun nœud n'est connu."),
    "restores": ("Guests brought back in the month", "Invités remis en service dans le mois"),
    "restores-lead": (
        "Restores onto production, not tests, replacements and their undoing among them. A verdict here "
        "says how the guest fared where it belongs; it proves no archive.",
        "Restaurations en production, pas des tests, y compris les remplacements et leur annulation. Le "
        "verdict dit comment l'invité s'est porté à sa place ; il ne prouve aucune archive.",
    ),
    "no-restores": (
        "No guest was brought back in this month.",
        "Aucun invité n'a été remis en service ce mois-ci.",
    ),
    "back.who": ("By", "Par"),
    "back.seconds": ("Back in", "Revenu en"),
    "back.running": ("running, checks passed", "en marche, contrôles réussis"),
    "back.failed": ("checks failed", "contrôles en échec"),
    "back.inconclusive": ("inconclusive", "non concluant"),
    "back.simulated": ("simulated", "simulé"),
    "back.done": ("restored, not started", "restauré, non démarré"),
    "back.started": ("started, not asked", "démarré, non interrogé"),
    "back.error": ("failed", "échec"),
    "back.cancelled": ("cancelled", "annulé"),
    "back.proven": ("its restore had been proven", "sa restauration avait été prouvée"),
    "back.unproven": ("its restore had not been proven", "sa restauration n'était pas prouvée"),
    "back.of": ("guest {vmid}", "invité {vmid}"),
    "back.undone": ("taken back", "défait"),
    "back.back": ("the old guest is back", "l'ancien invité est revenu"),
    "back.how.replace": ("in place of guest {vmid}", "à la place de l'invité {vmid}"),
    "back.how.replace-undo": (
        "back in place of guest {vmid}, undoing {id}",
        "revenu à la place de l'invité {vmid}, défait {id}",
    ),
    "back.undone.done": ("undone by {id}, {when}", "défait par {id}, {when}"),
    "back.undone.open": ("being undone by {id}", "en cours d'annulation par {id}"),
    "back.undone.not": (
        "{id} was to undo it and did not end well",
        "{id} devait le défaire et ne s'est pas bien terminé",
    ),
    "back.standing.new": ("the new guest is in place", "le nouvel invité est en place"),
    "back.standing.old": ("the old guest is in place", "l'ancien invité est en place"),
    "back.standing.not-known": (
        "which of the two is in place is not known: look at both",
        "on ne sait pas lequel des deux est en place : à vérifier sur les deux",
    ),
    "back.words": (
        "the original was said to be off: “{words}” ({by}, {when})",
        "l'original a été dit éteint : « {words} » ({by}, {when})",
    ),
    "failovers": (
        "High availability: failovers of the month",
        "Haute disponibilité : bascules du mois",
    ),
    "failovers-lead": (
        "Guests that HA took over without being asked. The length counts from the moment when HA "
        "found the node gone (at least) and from the node's last sign of life (at most) to the end "
        "of the start elsewhere; that its service answered then is not said.",
        "Invités que la HA a repris sans demande. La durée compte depuis le moment où la HA a "
        "constaté l'absence du nœud (au moins) et depuis son dernier signe de vie (au plus) jusqu'à "
        "la fin du démarrage ailleurs ; elle ne dit pas que le service répondait alors.",
    ),
    "over.none": (
        "None: the log of HA was read on every node, for the whole of the time.",
        "Aucune : le journal de la HA a été lu sur chaque nœud, pour toute la durée.",
    ),
    "over.unknown": (
        "Not known whether HA took anything over.",
        "On ne sait pas si la HA a repris quoi que ce soit.",
    ),
    "over.not-all": (
        "Not all was read: there may have been others.",
        "Tout n'a pas été lu : il a pu y en avoir d'autres.",
    ),
    "over.unasked": (
        "Not known: the log of HA was not read.",
        "On ne sait pas : le journal de la HA n'a pas été lu.",
    ),
    "over.no-ha": (
        "No guest is under high availability now; what was under it before is not known.",
        "Aucun invité n'est sous haute disponibilité à présent ; avant, on ne sait pas.",
    ),
    "over.right": (
        "the log of HA on {node} is read with Sys.Syslog on /, which the token lacks",
        "le journal de la HA sur {node} se lit avec Sys.Syslog sur /, que le jeton n'a pas",
    ),
    "over.offline": (
        "{node} is off, and its log with it",
        "{node} est arrêté, et son journal avec lui",
    ),
    "over.gone": (
        "{node} is no member of the cluster any more, and its log went with it",
        "{node} n'est plus membre du cluster, et son journal est parti avec lui",
    ),
    "over.empty": (
        "the log of {node} holds nothing of HA any more",
        "le journal de {node} ne contient plus rien de la HA",
    ),
    "over.short": (
        "the log of HA on {node} goes back to {back}, no further",
        "le journal de la HA sur {node} remonte au {back}, pas plus loin",
    ),
    "over.failed": (
        "the log of HA on {node} could not be read: {detail}",
        "le journal de la HA sur {node} n'a pas pu être lu : {detail}",
    ),
    "over.between": ("{least} at least, {most} at most", "au moins {least}, au plus {most}"),
    "over.least": ("{least} at least", "au moins {least}"),
    "over.most": ("{most} at most", "au plus {most}"),
    "over.no-length": ("not known", "inconnue"),
    "over.not-back": (
        "not known: no start that ended well is listed",
        "inconnue : aucun démarrage réussi n'est listé",
    ),
    "over.when": ("Node found gone", "Absence du nœud constatée"),
    "over.fenced": ("Fenced", "Isolé"),
    "over.started": ("Started again", "Redémarré"),
    "over.helped": ("by {who}, not by HA", "par {who}, non par la HA"),
    "over.length": ("Away for", "Absent pendant"),
    "over.from": ("from {source} to {target}", "de {source} vers {target}"),
    "over.odd": (
        "started elsewhere, and no move of it is listed: HA took it over, or somebody moved it by "
        "hand",
        "démarré ailleurs sans déplacement listé : la HA l'a repris, ou quelqu'un l'a déplacé à la "
        "main",
    ),
    "signoff": ("Sign-off", "Visa"),
    "signoff.name": ("Name and function", "Nom et fonction"),
    "signoff.date": ("Date", "Date"),
    "signoff.signature": ("Signature", "Signature"),
    "footer": (
        "Computed by backupsvc {version} from what was measured; policy {digest}; Proxmox VE "
        "{release}.",
        "Calculé par backupsvc {version} à partir de mesures ; politique {digest} ; Proxmox VE "
        "{release}.",
    ),
    "below": (
        "What follows from it, and needs nothing of its own:",
        "Ce qui en découle, et n'appelle aucune action propre :",
    ),
}

LIMITS: dict[str, tuple[str, str]] = {
    "alone": (
        "Each guest was restored alone: what it takes to restore the whole site at once was not "
        "measured.",
        "Chaque invité a été restauré seul : la durée d'une restauration de tout le site à la "
        "fois n'a pas été mesurée.",
    ),
    "dependencies": (
        "A copy met no other guest: what it does with its directory, its databases or its clients "
        "was not tested.",
        "Une copie ne rencontre aucun autre invité : ses échanges avec annuaire, bases ou clients "
        "n'ont pas été testés.",
    ),
    "currency": (
        "The age of the data inside a copy was not measured: the RPO counts from the start of the "
        "backup.",
        "L'âge des données dans la copie n'a pas été mesuré : le RPO se compte depuis le début de "
        "la sauvegarde.",
    ),
    "memory": (
        "Copies ran with at most {memory} MiB of memory, which may be less than in production.",
        "Les copies ont tourné avec au plus {memory} Mio de mémoire, parfois moins qu'en "
        "production.",
    ),
    "link-down": (
        "No network check was possible for: {guests} (their copies start with links down).",
        "Aucun contrôle par le réseau n'a été possible pour : {guests} (copies démarrées liens "
        "coupés).",
    ),
    "unchecked": (
        "Nothing asks the service of: {guests}. Their copies can boot at most, and are never "
        "proven.",
        "Rien n'interroge le service de : {guests}. Leurs copies peuvent au plus démarrer, et ne "
        "sont jamais prouvées.",
    ),
    "booted": (
        "Nothing asks the service of: {guests}. Where they are proven, that means that their "
        "copies boot, no more.",
        "Rien n'interroge le service de : {guests}. Prouvés, cela veut dire que leurs copies "
        "démarrent, pas davantage.",
    ),
    "elsewhere": (
        "Only the storages of this cluster were seen: tapes, other sites and clouds are not "
        "counted as copies.",
        "Seuls les stockages de ce cluster ont été vus : bandes, autres sites et nuages ne "
        "comptent pas comme copies.",
    ),
    "moment": (
        "Objectives and findings are those of the moment this report was produced, not of the end "
        "of the month.",
        "Objectifs et constats sont ceux du moment où ce rapport a été produit, pas de la fin du "
        "mois.",
    ),
    "unsigned": (
        "This report is not signed: its integrity rests on where it is kept.",
        "Ce rapport n'est pas signé : son intégrité dépend de l'endroit où il est conservé.",
    ),
}

_MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)


def chrome(key: str, language: str, **values: object) -> str:
    """Given a key of CHROME and its values, return the words."""
    return _said(CHROME[key], language, values)


def month(name: str, language: str) -> str:
    """Given a month such as ``2026-03``, return it in words: ``March 2026``, ``mars 2026``."""
    first = date.fromisoformat(f"{name}-01")
    return (
        f"{_MONTHS[first.month - 1]} {first.year}"
        if language == i18n.FRENCH
        else first.strftime("%B %Y")
    )


def limits(facts: SiteFacts, policy: Policy, past: bool) -> tuple[str, ...]:
    """Given facts and policy, return what the month's tests did not show. ``past``: the month is
    over.
    """
    language = policy.language
    wishes = [
        policy_for(policy, item.vmid, item.name)
        for item in facts.guests
        if item.vmid not in policy.scratch
    ]
    link_down = [guest for guest in wishes if guest.network == "link-down"]
    silent = [guest for guest in wishes if not asks_service(check.kind for check in guest.checks)]
    booted = [guest for guest in silent if wanted_rung(policy, guest.vmid) is Rung.BOOTED]
    unchecked = [guest for guest in silent if guest not in booted]
    wanted: list[tuple[str, dict[str, object]]] = [
        ("alone", {}),
        ("dependencies", {}),
        ("currency", {}),
    ]
    if policy.scratch.memory:
        wanted.append(("memory", {"memory": policy.scratch.memory}))
    for key, guests in (("link-down", link_down), ("unchecked", unchecked), ("booted", booted)):
        if guests:
            wanted.append(
                (key, {"guests": i18n.names(f"{guest.vmid} {guest.name}" for guest in guests)})
            )
    wanted += [("elsewhere", {}), *([("moment", {})] if past else []), ("unsigned", {})]
    return tuple(_said(LIMITS[key], language, values) for key, values in wanted)


def _said(pair: tuple[str, str], language: str, values: dict[str, object]) -> str:
    text = pair[1] if language == i18n.FRENCH else pair[0]
    return i18n.typeset(text.format(**values), language)
