"""The sentences of findings, objectives and gaps in French. Typed with plain spaces: policies.i18n
sets the no-break ones.
"""

from __future__ import annotations

# same keys and placeholders as in en
FINDINGS: dict[str, tuple[str, str]] = {
    "node-offline": (
        "{how}\n{quorum}\n{guests}\n{archives}\n{reach}",
        "{steps}",
    ),
    "status-unknown": (
        "Pour PVE, l'état de {node} est inconnu : son pvestatd n'a rien signalé depuis cinq "
        "minutes.\n"
        "{node} répond de lui-même, et il est lu comme tout autre nœud : invités, archives, "
        "stockages. Seules les listes "
        "de PVE ne "
        "disent plus quels invités y tournent, comment ils s'appellent, ni s'il est plein.",
        "Sur {node} : systemctl status pvestatd ; puis chercher le stockage qui le bloque, le plus "
        "souvent NFS ou CIFS (pvesm status ; findmnt -t nfs,nfs4,cifs ; dmesg). Dès qu'il répond à "
        "nouveau : systemctl restart pvestatd.",
    ),
    "guest-not-covered.absent": (
        "La politique attend cet invité, mais le cluster ne le montre pas (archives restantes : "
        "{count}) : il a été supprimé, ou le jeton ne le voit pas.",
        "S'il a été supprimé par erreur, lancer backupsvc restore {vmid} ; s'il est retiré du "
        "service, l'ôter de la politique ; sinon accorder au jeton VM.Audit sur /vms.",
    ),
    "guest-not-covered.job": (
        "Aucune tâche de la politique ne sauvegarde cet invité.",
        "L'ajouter à une tâche de la politique, ou consigner une dérogation avec responsable, "
        "motif et échéance.",
    ),
    "guest-not-covered.archive": (
        "Aucun stockage lisible ne contient d'archive de cet invité : il n'y a rien à partir de "
        "quoi le restaurer.",
        "Lancer backupsvc backup run --vmid {vmid}, et lire ce qui est dit.",
    ),
    "guest-not-covered.stranger": (
        "Aucune archive n'est de cet invité : les {count} sous son VMID sont d'une autre machine, "
        "d'après leur UUID SMBIOS et leur date de création.",
        "Lancer backupsvc backup run --vmid {vmid} ; si elles sont pourtant de cette machine, le "
        "dire après cette sauvegarde avec backupsvc catalog lineage join.",
    ),
    "guest-not-covered.unreachable": (
        "Aucune archive de cet invité n'est à portée ; {count} sont connues sur {places}, qui n'a "
        "pas pu être listé. Elles ne sont pas perdues.",
        "Remettre en service ce stockage ou son nœud (pvesm status y dit ce qui ne va pas) ; "
        "aucune sauvegarde n'est à refaire pour cela.",
    ),
    "guest-left-frozen": (
        "La sauvegarde du {when} a laissé les systèmes de fichiers de l'invité gelés ({why}) : "
        "tout ce qui y écrit se bloque, même si PVE dit la sauvegarde réussie.",
        "Les dégeler tout de suite sur son nœud : qm guest cmd {vmid} fsfreeze-thaw. En cas "
        "d'échec, réinitialiser l'invité.",
    ),
    "guest-left-frozen.unknown": (
        "Après la sauvegarde du {when}, PVE n'a pas pu dégeler l'invité ({why}), et son agent n'a "
        "pas pu être interrogé depuis : ses systèmes de fichiers sont peut-être encore gelés.",
        "Vérifier tout de suite que l'invité fonctionne : qm guest cmd {vmid} fsfreeze-status ; "
        "le dégeler avec fsfreeze-thaw.",
    ),
    "backup-missed": (
        "La sauvegarde prévue le {due} (tâche {job}) est absente : l'archive la plus récente a "
        "été commencée le {last}.",
        "Lancer backupsvc backup run {job} --vmid {vmid}, et chercher la cause dans backupsvc "
        "operations list.",
    ),
    "backup-missed.failed": (
        "La dernière sauvegarde a échoué le {when} : {detail}",
        "Supprimer la cause, puis lancer backupsvc backup run --vmid {vmid}.",
    ),
    "backup-missed.run": (
        "{count} exécution(s) de la tâche {job} manquée(s), du {first} au {last} : aucun "
        "planificateur n'était en marche.",
        "Lancer backupsvc backup run {job}, et chercher pourquoi le planificateur était arrêté "
        "(backupsvc operations list).",
    ),
    "backup-missed.run-since": (
        "{count} exécution(s) de la tâche {job} manquée(s), du {first} au {last} : aucun "
        "planificateur n'était en marche. Une exécution a eu lieu depuis.",
        "Chercher pourquoi le planificateur était arrêté ; les archives de ces exécutions "
        "manquent définitivement.",
    ),
    "never-proven": (
        "Aucune archive de cet invité n'a jamais été restaurée puis contrôlée : une sauvegarde "
        "jamais restaurée n'est qu'un espoir.",
        "Lancer backupsvc restore-test {vmid}.",
    ),
    "never-proven.tried": (
        "Test(s) de restauration effectué(s) : {count}, aucun n'a rien prouvé ; le dernier, le "
        "{when}, a pour verdict « {verdict} » : {reason}",
        "Supprimer la cause que nomme son dernier test de restauration, puis lancer backupsvc "
        "restore-test {vmid}.",
    ),
    "no-service-check": (
        "Les contrôles de cet invité ({checks}) ne sont que des signes de vie : un test de "
        "restauration peut montrer qu'une copie démarre, pas que son service fonctionne, et reste "
        "non concluant.",
        "Ajouter à sa politique un contrôle de son service ({suggested}) ; ou, s'il suffit qu'il "
        "démarre, lui donner un niveau avec proof-rung: booted.",
    ),
    "no-service-check.none": (
        "Aucun contrôle n'est configuré pour cet invité : un test de restauration peut au plus "
        "montrer qu'une copie démarre, et reste non concluant.",
        "Ajouter à sa politique un contrôle de son service ({suggested}) ; ou, s'il suffit qu'il "
        "démarre, lui donner un niveau avec proof-rung: booted.",
    ),
    "archives-on-guest-node": (
        "Toutes les archives de cet invité ({count}) sont sur {node}, le nœud qui l'exécute : "
        "perdre {node}, c'est perdre l'invité et toutes ses copies.",
        "Copier les archives sur un autre nœud ou un autre site, ou sauvegarder vers un stockage "
        "hors de {node}.",
    ),
    "archives-on-guest-node.planned": (
        "La tâche {job} écrit sur le stockage {storage} de {node}, le nœud qui exécute cet invité "
        ": perdre {node}, ce serait perdre les deux.",
        "Copier les archives sur un autre nœud ou un autre site, ou sauvegarder vers un stockage "
        "hors de {node}.",
    ),
    "archives-on-guest-node.down": (
        "Toutes les archives connues de cet invité ({count}) sont sur {node}, le nœud qui "
        "l'exécutait et qui ne répond pas : invité et archives sont hors d'atteinte ensemble.",
        "Remettre {node} en service, ou sauver ses disques : ils portent les seules archives. "
        "Ensuite, copier les archives sur un autre nœud ou un autre site.",
    ),
    "quorum-two-votes": (
        "Le cluster compte {votes} votes : la perte d'un nœud fait perdre le quorum, alors la HA "
        "ne peut plus agir et PVE refuse toute restauration.",
        "Ajouter un troisième vote : un QDevice sur une petite machine hors du cluster (pvecm "
        "qdevice setup), ou un troisième nœud. L'API de PVE ne montre pas les QDevices : s'il en "
        "existe déjà un, consigner une dérogation pour ce constat.",
    ),
    "quorum-two-votes.lost": (
        "Le cluster compte {votes} votes et n'a pas le quorum en ce moment : la HA n'agit pas et "
        "PVE refuse toute restauration.",
        "Remettre en service le nœud manquant ; s'il est perdu, suivre la procédure du PRA (pvecm "
        "expected 1, sur le seul nœud survivant).",
    ),
    "scratch-not-isolated.none": (
        "La politique ne nomme aucun pont isolé : les copies restaurées démarrent liens coupés, et "
        "rien de ce qui répond par le réseau ne peut être contrôlé.",
        "Créer sur les nœuds un pont sans port, le nommer sous scratch: bridge: dans la politique, "
        "et n'accorder au jeton SDN.Use que sur lui.",
    ),
    "scratch-not-isolated.missing": (
        "Le pont isolé {bridge} n'existe pas sur {nodes}, ou le jeton ne le voit pas : rien ne "
        "peut y être prouvé par le réseau.",
        "Y créer {bridge} sans port, et accorder au jeton SDN.Use sur "
        "/sdn/zones/localnetwork/{bridge}.",
    ),
    "scratch-not-isolated.ports": (
        "Le pont {bridge} n'est pas isolé : sur {node} il a le(s) port(s) {ports} ; une copie "
        "restaurée rencontrerait le réseau derrière (adresses en double, passerelle parasite, "
        "contrôleur de domaine revenu en arrière).",
        "Retirer les ports de {bridge} sur {node}, ou nommer un autre pont dans la politique. "
        "D'ici là, ne lancer aucun test de restauration.",
    ),
    "scratch-not-isolated.address": (
        "Le nœud {node} a une adresse ({address}) sur le pont {bridge} : les copies restaurées "
        "peuvent joindre le nœud, et au-delà s'il route.",
        "Retirer l'adresse de {bridge} sur {node} ; seule la sonde a sa place sur ce pont.",
    ),
    "scratch-not-isolated.token": (
        "Le jeton peut utiliser des réseaux de production ({bridges}) : PVE lui-même n'empêcherait "
        "pas une copie restaurée de rencontrer la production.",
        "N'accorder au jeton SDN.Use que sur le pont isolé (/sdn/zones/localnetwork/<pont>), et "
        "réserver les ponts de production au jeton de restauration.",
    ),
    "listing-blind": (
        "Le stockage montre {now} archive(s) ; {lost} autre(s), connue(s) du catalogue, n'y "
        "figurent plus : supprimées par quelqu'un d'autre, ou droits du jeton perdus.",
        "Vérifier le stockage à la main (pvesm list {storage}) ; si elles ont vraiment disparu, "
        "lancer backupsvc catalog sync.",
    ),
    "listing-blind.all": (
        "Le stockage ne montre plus aucune archive, mais le catalogue y en connaît {lost} : jeton "
        "sans droits, stockage non monté, ou tout a été supprimé.",
        "Vérifier d'abord le stockage à la main (pvesm list {storage}) ; rien n'est purgé "
        "entre-temps.",
    ),
    "listing-blind.storage": (
        "Le jeton n'a ni Datastore.AllocateSpace ni Datastore.Allocate sur ce stockage : PVE "
        "répond par une liste vide, pas par une erreur.",
        "Accorder à l'utilisateur du jeton et au jeton Datastore.AllocateSpace sur "
        "/storage/{storage}.",
    ),
    "listing-blind.guests": (
        "Le jeton n'a pas VM.Backup sur /vms : les archives des invités supprimés, ou hors de ses "
        "droits, manquent sans un mot à toutes les listes.",
        "Accorder à l'utilisateur du jeton et au jeton VM.Backup sur /vms, avec propagation.",
    ),
    "listing-blind.empty": (
        "Le cluster ne montre aucun invité à ce jeton : sans VM.Audit, PVE répond par une liste "
        "vide, pas par une erreur.",
        "Accorder à l'utilisateur du jeton et au jeton VM.Audit sur /vms.",
    ),
    "job-pinned-to-node": (
        "La tâche de sauvegarde PVE est liée au nœud {node} : un invité qui change de nœud est "
        "ignoré sans bruit, et PVE dit OK.",
        "Retirer le nœud de la tâche (Centre de données > Sauvegarde), ou désactiver cette tâche : "
        "backupsvc sauvegarde chaque invité là où il se trouve.",
    ),
    "job-pinned-to-node.skips": (
        "La tâche de sauvegarde PVE est liée au nœud {node}, et ces invités tournent ailleurs ou "
        "peuvent être déplacés par la HA : {guests}. Ils sont ignorés sans un mot dès qu'ils "
        "quittent {node}, et PVE répond OK.",
        "Retirer le nœud de la tâche (Centre de données > Sauvegarde), ou désactiver cette tâche : "
        "backupsvc sauvegarde chaque invité là où il se trouve.",
    ),
    "foreign-job": (
        "Une tâche propre à PVE ({schedule}, vers {storage}) sauvegarde des invités que ce service "
        "sauvegarde aussi : {guests}. Ils sont sauvegardés deux fois, attendent le verrou l'un de "
        "l'autre, et chacun purge selon ses règles.",
        "Désactiver la tâche PVE (Centre de données > Sauvegarde), ou ôter ces invités de la "
        "politique.",
    ),
    "storage-prunes": (
        "PVE applique sa propre rétention sur ce stockage ({prune}) : elle peut supprimer des "
        "archives que la politique garde, même prouvées.",
        "Mettre la rétention du stockage à keep-all (Centre de données > Stockage > Rétention) et "
        "laisser backupsvc purger.",
    ),
    "storage-filling": (
        "Le stockage est rempli à {share} % : il reste {available}.",
        "Purger (backupsvc prune --dry-run montre ce qui partirait), ou agrandir le stockage.",
    ),
    "storage-filling.night": (
        "Il reste {available}, mais une série de sauvegardes occupe environ {needed} : la "
        "prochaine peut remplir le stockage et échouer.",
        "Purger (backupsvc prune --dry-run montre ce qui partirait) ou agrandir le stockage avant "
        "la prochaine sauvegarde.",
    ),
    "archive-corrupt": (
        "Les octets de l'archive {volid} sur {node} sont endommagés : {what}. Elle ne compte plus, "
        "et aucune restauration ne la prend sans qu'elle soit nommée.",
        "Vérifier le disque de ce stockage sur {node}, qui en abîme peut-être d'autres ; "
        "sauvegarder l'invité à nouveau (backupsvc backup run --vmid {vmid}). Le constat disparaît "
        "quand l'archive est supprimée dans PVE, ou relue intacte (backupsvc catalog recheck --vmid {vmid} --all).",
    ),
    "archive-changed": (
        "L'archive {volid} sur {node} n'est plus celle qui a été enregistrée : {what}. Elle ne "
        "prouve plus rien, et aucune restauration ne la prend sans qu'elle soit nommée.",
        "Chercher qui a écrit sur {node} ; backupsvc catalog show {volid} montre ce qui a été "
        "enregistré. Le constat disparaît quand l'archive est supprimée ou renommée dans PVE.",
    ),
    "archive-suspicious": (
        "L'archive {volid} sur {node} n'est pas ce que les précédentes laissaient attendre : "
        "{what}. Rien de plus ancien de cet invité n'est supprimé avant que quelqu'un ait regardé "
        "(archives retenues : {held}, soit {bytes}).",
        "Vérifier que les données de l'invité sont ce qu'elles doivent être. Si oui, le dire : "
        "backupsvc archive acknowledge {volid} --reason TEXT. Sinon, restaurer une archive plus "
        "ancienne : backupsvc catalog list --vmid {vmid}.",
    ),
    "archive-shrunk": (
        "L'archive la plus récente {volid} pèse {size} ; les {count} précédentes pesaient environ "
        "{usual} : il y manque peut-être des données.",
        "Comparer les disques de l'invité à l'archive (backupsvc archive info), et lancer "
        "backupsvc restore-test {vmid}.",
    ),
    "archive-shrunk.no-disk": (
        "L'archive la plus récente {volid} ne contient aucun disque : restaurée, elle donnerait "
        "une machine vide. Les plus anciennes sont gardées à sa place.",
        "Voir ce qu'est la VM {vmid} (qm config {vmid}) : une restauration échouée laisse un tel "
        "reste. Puis ramener l'invité, ou le sauvegarder.",
    ),
    "archive-shrunk.empty": (
        "L'archive la plus récente {volid} est vide : elle ne contient rien à restaurer.",
        "Lire le journal de la tâche et vérifier l'espace libre du stockage, puis lancer "
        "backupsvc backup run --vmid {vmid}.",
    ),
    "disk-excluded": (
        "Disque(s) exclu(s) de la sauvegarde (backup=0) : {disks}. Une copie restaurée ne les a "
        "pas, et n'est jamais prouvée.",
        "Cocher Sauvegarde sur le disque (VM > Matériel), ou consigner une dérogation disant "
        "pourquoi ses données sont inutiles.",
    ),
    "guest-agent-missing": (
        "L'agent invité QEMU n'est pas configuré : les sauvegardes ont la cohérence d'un arrêt "
        "brutal (pas de gel des systèmes de fichiers), et une copie restaurée ne peut pas être "
        "interrogée de l'intérieur.",
        "Installer qemu-guest-agent dans l'invité, puis activer l'option QEMU Guest Agent de la VM "
        "(qm set {vmid} --agent 1) et la redémarrer.",
    ),
    "clock-drift": (
        "L'horloge de {node} est {direction} de {offset} sur celle de ce service : planification, "
        "rétention, HA et mesures d'âge en dépendent.",
        "Remettre à l'heure {node} et la garder synchronisée (chronyc tracking ; chrony est livré "
        "avec PVE).",
    ),
    "clock-drift.own": (
        "Tous les nœuds sont d'accord entre eux, mais leurs horloges sont {direction} de {offset} "
        "sur celle de ce service : l'horloge fausse est sans doute celle de la machine qui exécute "
        "backupsvc, et chaque âge mesuré est faux d'autant.",
        "Synchroniser l'horloge de la machine qui exécute backupsvc (timedatectl, chronyc "
        "tracking).",
    ),
    "clock-drift.ha": (
        "Le gestionnaire HA signale une dérive d'horloge : {text}",
        "Synchroniser les horloges de tous les nœuds (chronyc tracking sur chacun).",
    ),
    "exception-expired": (
        "La dérogation pour {finding} a pris fin le {until} (responsable : {owner} ; motif : "
        "{reason}).",
        "Supprimer la cause et la dérogation, ou la faire renouveler par {owner} avec une "
        "nouvelle échéance.",
    ),
    "orphan-copy": (
        "Une copie oubliée tourne sous le nom de VM {vmid} sur {node} : son test de restauration "
        "{operation} n'est pas ouvert dans ce catalogue. Elle peut répondre à une adresse de "
        "production sur le pont isolé.",
        "Vérifier qu'aucun autre service ne s'en sert, puis la supprimer sur {node} (qm stop "
        "{vmid}; qm destroy {vmid} --purge).",
    ),
    "orphan-copy.stopped": (
        "Une copie oubliée, arrêtée, est restée : VM {vmid} sur {node}. Son test de restauration "
        "{operation} n'est pas ouvert dans ce catalogue.",
        "Vérifier qu'aucun autre service ne s'en sert, puis la supprimer sur {node} (qm destroy "
        "{vmid} --purge).",
    ),
    "orphan-copy.ours": (
        "Une copie de ce service est restée : VM {vmid} sur {node}. Son test de restauration "
        "{operation} n'est plus ouvert.",
        "Laisser tourner les workers (backupsvc serve) : ils la suppriment, et backupsvc "
        "operations list montre le résultat.",
    ),
    "copy-moved": (
        "La copie du test de restauration {operation} a été déplacée de {source} vers {target} "
        "pendant le test, vu le {when} ; elle y a été supprimée, et le test n'a rien décidé.",
        "Chercher qui déplace les invités (HA, rééquilibrage, une personne) et l'écarter de la "
        "plage de test et de son étiquette ; puis lancer backupsvc restore-test {vmid}.",
    ),
    "copy-corrupt": (
        "La copie de {volid} dans la cible de copie {target} est endommagée : {what}. Elle ne compte "
        "plus.",
        "Vérifier le disque de {target}, qui en abîme peut-être d'autres (backupsvc copy recheck --to "
        "{target} --all). Tant que l'archive existe, la prochaine nuit refait la copie, ou backupsvc "
        "copy run --to {target} --vmid {vmid} tout de suite ; sinon la supprimer dans la cible, puis "
        "lancer backupsvc copy sync --to {target}.",
    ),
    "copy-deletable": (
        "Le {when}, ce service a pu écraser et supprimer un fichier à lui dans la cible de copie "
        "{target} ({folder}), pourtant déclarée immuable : qui prend la main sur le service peut "
        "détruire les copies avec les archives.",
        "Configurer ce serveur comme le dit docs/policy.md (copies : serveur SFTP immuable), ou "
        "déclarer la cible immutable: false ; puis lancer backupsvc copy try-delete --to "
        "{target}.",
    ),
    "copy-deletable.overwritten": (
        "Le {when}, ce service a pu écraser un fichier à lui dans la cible de copie {target} "
        "({folder}), pourtant déclarée immuable : qui prend la main sur le service peut détruire "
        "les copies avec les archives.",
        "Configurer ce serveur comme le dit docs/policy.md (copies : serveur SFTP immuable ; "
        "-u 0333 empêche d'écraser les fichiers), ou déclarer la cible immutable: false ; puis "
        "lancer backupsvc copy try-delete --to {target}.",
    ),
    "copy-deletable.deleted": (
        "Le {when}, ce service a pu supprimer un fichier à lui dans la cible de copie {target} "
        "({folder}), pourtant déclarée immuable : qui prend la main sur le service peut détruire "
        "les copies avec les archives.",
        "Configurer ce serveur comme le dit docs/policy.md (copies : serveur SFTP immuable), ou "
        "déclarer la cible immutable: false ; puis lancer backupsvc copy try-delete --to "
        "{target}.",
    ),
    "kit-unrehearsed": (
        "Les clés des copies chiffrées de {target} ({folder}) ont servi pour la dernière fois le "
        "{when}, il y a plus d'un trimestre : on ne sait pas si ces copies se lisent encore.",
        "Faire lancer backupsvc copy rehearse --to {target} par qui détient une clé.",
    ),
    "kit-unrehearsed.never": (
        "Personne n'a montré que les copies chiffrées de {target} ({folder}) se déchiffrent avec "
        "une des clés que la politique nomme : une copie illisible n'en est pas une.",
        "Faire lancer backupsvc copy rehearse --to {target} par qui détient une clé.",
    ),
    "catalog-snapshot-unproven": (
        "Cible de copie {target} ({folder}), {what} {file} : repris le {when}, son contenu "
        "n'est pas celui du catalogue à ce moment-là.",
        "Lancer backupsvc break-glass rehearse --to {target} : les lignes qui diffèrent y sont dites. "
        "Puis refaire backupsvc break-glass export et backupsvc catalog backup, et recommencer ; si "
        "l'écart demeure, examiner le disque du catalogue.",
    ),
    "catalog-snapshot-unproven.unreadable": (
        "Cible de copie {target} ({folder}), {what} {file} : repris le {when}, illisible : "
        "le catalogue n'aurait pas pu en être tiré.",
        "Lancer backupsvc break-glass rehearse --to {target} pour voir pourquoi, examiner le disque "
        "là-bas, et refaire backupsvc break-glass export et backupsvc catalog backup.",
    ),
    "catalog-snapshot-unproven.altered": (
        "Cible de copie {target} ({folder}), {what} {file} : repris le {when}, ses octets "
        "ne sont plus ceux qui y avaient été écrits.",
        "Chercher qui écrit dans {target} et examiner son disque : des copies d'archives ont pu "
        "changer aussi (backupsvc copy recheck --to {target} --all). Puis lancer backupsvc "
        "break-glass export, backupsvc catalog backup et backupsvc break-glass rehearse.",
    ),
    "catalog-snapshot-unproven.missing": (
        "Le {when}, la cible de copie {target} ({folder}) ne contenait pas : {what}.",
        "Voir pourquoi la nuit n'y apporte rien (backupsvc operations list --kind night), ou lancer "
        "tout de suite backupsvc break-glass export et backupsvc catalog backup.",
    ),
    "catalog-snapshot-unproven.old": (
        "Le {when}, le plus récent de la cible de copie {target} ({folder}) était {file} ({what}) : "
        "sa date est à plus de huit jours.",
        "Voir pourquoi la nuit n'y apporte plus rien (backupsvc operations list --kind night), et si "
        "l'horloge de cette machine est juste.",
    ),
    "catalog-snapshot-unproven.unknown": (
        "Cible de copie {target} ({folder}), {what} {file} : chiffré, et rien ne dit ce qui y "
        "fut écrit ; le {when}, rien n'a pu être comparé.",
        "Faire lancer backupsvc break-glass rehearse --to {target} --identity FICHIER par qui détient "
        "une clé ; le prochain que fait la nuit sera consigné.",
    ),
    "catalog-snapshot-unproven.overdue": (
        "Cible de copie {target} ({folder}), {what} : repris pour la dernière fois le {when}, il "
        "y a plus d'un mois. On ne sait pas si le catalogue pourrait en être tiré.",
        "Lancer backupsvc break-glass rehearse --to {target} ; les nuits le font chaque mois si elles "
        "atteignent la cible.",
    ),
    "catalog-snapshot-unproven.never": (
        "Personne n'a montré que le catalogue pourrait être tiré de ce que contient la cible de copie "
        "{target} ({folder}).",
        "La prochaine nuit l'essaiera, ou backupsvc break-glass rehearse --to {target} tout de suite.",
    ),
    "lineage-asked": (
        "On ignore si les archives de {older} et de {newer} sont d'une même machine (inchangé : "
        "{stayed} ; changé : {changed}, à partir de {volid}) : aucune n'est supprimée, ni ne fait "
        "supprimer une autre.",
        "Si c'est une même machine, lancer backupsvc catalog lineage join {vmid} {older} {newer} "
        "--reason TEXTE ; si c'en est une autre, backupsvc catalog lineage split {vmid} {volid} "
        "--reason TEXTE. --dry-run montre ce qui changerait.",
    ),
    "tombstone-over": (
        "Cet invité a disparu depuis le {since}, et la durée de conservation de ses archives a pris "
        "fin le {when} : archives gardées jusqu'à ce que quelqu'un décide : {count}.",
        "Lancer backupsvc catalog tombstones release {vmid} --reason TEXTE --dry-run pour voir ce "
        "qui partirait, et sans --dry-run pour y renoncer ; ou allonger la durée dans la politique "
        "(tombstone : for).",
    ),
    "tombstone-over.again": (
        "Cet invité avait disparu depuis le {since} ; un invité porte de nouveau son VMID, et rien "
        "ne dit si c'est le même : aucune des archives d'avant n'est supprimée ({count}).",
        "Si elles peuvent tourner avec les siennes, lancer backupsvc catalog tombstones release "
        "{vmid} --reason TEXTE.",
    ),
}

TITLES: dict[str, str] = {
    "node-offline": "Nœud qui ne répond pas",
    "status-unknown": "État inconnu de PVE",
    "guest-not-covered": "Invité non couvert",
    "guest-left-frozen": "Invité laissé gelé par sa sauvegarde",
    "backup-missed": "Sauvegarde manquante",
    "never-proven": "Jamais prouvé",
    "no-service-check": "Service jamais interrogé",
    "archives-on-guest-node": "Archives sur le nœud de l'invité",
    "quorum-two-votes": "Quorum à deux votes",
    "scratch-not-isolated": "Réseau de test non isolé",
    "listing-blind": "Liste d'archives incomplète",
    "job-pinned-to-node": "Tâche de sauvegarde liée à un nœud",
    "foreign-job": "Tâche PVE en double",
    "storage-prunes": "Stockage qui purge de lui-même",
    "storage-filling": "Stockage presque plein",
    "archive-corrupt": "Archive corrompue",
    "archive-changed": "Archive modifiée",
    "archive-suspicious": "Archive suspecte",
    "archive-shrunk": "Archive amaigrie",
    "disk-excluded": "Disque exclu de la sauvegarde",
    "guest-agent-missing": "Agent invité non configuré",
    "clock-drift": "Dérive d'horloge",
    "exception-expired": "Dérogation expirée",
    "orphan-copy": "Copie oubliée",
    "copy-moved": "Copie déplacée en plein test",
    "copy-corrupt": "Copie corrompue",
    "copy-deletable": "Copies destructibles",
    "kit-unrehearsed": "Clés jamais éprouvées",
    "catalog-snapshot-unproven": "Catalogue jamais repris",
    "lineage-asked": "Une machine ou deux",
    "tombstone-over": "Archives d'un invité disparu",
}

REASONS: dict[str, str] = {
    "more": "et {count} de plus",
    "suspicion.sealed": "de ce que contient {disk}, {now} % paraît aléatoire, comme des données "
    "chiffrées ; dans {since}, c'était {was} %",
    "suspicion.emptied": "{disk} contient {now}, contre {was} dans {since}",
    "suspicion.replaced": "de ce que {disk} contenait dans {since}, {now} % est autre chose, contre "
    "{was} % d'habitude d'une archive à la suivante",
    "suspicion.rewritten": "de ce qui paraissait aléatoire sur {disk} dans {since}, {now} % est "
    "fait d'autres données aléatoires, contre {was} % d'habitude d'une archive à la suivante",
    "suspicion.swollen": "l'archive pèse {now}, contre {was} pour {since}, sans que ses disques "
    "aient grossi d'autant : ses données ne se compressent plus",
    "down.offline": (
        "Le cluster dit que {node} est hors ligne. Machine éteinte ou seulement coupée du réseau "
        ": d'ici, on ne peut le dire."
    ),
    "down.unknown": "PVE ne connaît pas l'état de {node}, et {node} ne répond pas quand on "
    "l'interroge lui-même.",
    "down.silent": "PVE dit {node} en ligne, mais {node} ne répond pas ({why}).",
    "down.quorum.kept": "Quorum : conservé, nœuds en ligne : {online} sur {votes}.",
    "down.quorum.lost": (
        "Quorum : PERDU, nœuds en ligne : {online} sur {votes} ; la HA n'agit pas, et PVE refuse "
        "toute restauration."
    ),
    "down.quorum.unknown": "Quorum : inconnu, nœuds en ligne : {online} sur {votes}.",
    "down.guests": "Inconnu : si ses invités ({count}) tournent encore : {guests}.",
    "down.no-guests": "Aucun invité ne s'y trouve.",
    "down.ha": "La HA déplace ceux-ci d'elle-même une fois le nœud isolé, donc les lui laisser : "
    "{guests}.",
    "down.ha-stands-still": "La HA gère ceux-ci, et ne fait rien sans quorum : {guests}.",
    "down.archives": "Hors d'atteinte, pas perdu : archives connues sur {node} (stockage "
    "{storages}) : {count}.",
    "down.no-archives": "Aucune archive n'est connue sur {node} ; ce qui peut s'y trouver n'a pas "
    "pu être listé.",
    "down.reach": "À portée : {nodes}.",
    "down.reach.none": "À portée : {nodes} ; aucune archive de ces invités.",
    "down.reach.all": "À portée : {nodes}, avec une archive de chacun de ces invités.",
    "down.reach.some": "À portée : {nodes} ; des archives de {guests}.",
    "way.seen": (
        "Voir sur place (console, IPMI, alimentation) si {node} est vraiment éteint : un invité "
        "qui y tourne encore ne doit pas tourner deux fois."
    ),
    "way.back": "S'il peut revenir bientôt, le remettre en service : ce qui s'y trouve est resté "
    "tel quel.",
    "way.quorum": "S'il est perdu, et éteint : rendre le quorum au reste par `pvecm expected 1` "
    "sur {alive}.",
    "way.free": "Puis libérer le VMID de chaque invité sur {alive} : mv "
    "/etc/pve/nodes/{node}/qemu-server/VMID.conf /root/.",
    "way.ha": "Sortir d'abord de la HA ce qu'elle gère, sinon elle le déplace elle-même : "
    "{commands}.",
    "way.restore": "Puis restaurer par {command}, d'après l'archive la plus récente à portée : "
    "{guests}.",
    "way.guest": "{vmid} du {when} ({volid})",
    "way.none": (
        "Les invités sans archive à portée ne peuvent être restaurés avant le retour de {node} : "
        "ne pas le réinstaller, garder ses disques."
    ),
    "rpo.met": "la dernière sauvegarde prouvée a commencé il y a {age} (objectif {objective})",
    "rpo.breached": "la dernière sauvegarde prouvée a commencé il y a {age} ; l'objectif est "
    "{objective}",
    "rpo.unproven": "aucune sauvegarde de cet invité n'est prouvée : on ignore ce qu'une "
    "restauration rendrait",
    "rpo.gone": "l'archive qui a été prouvée a disparu, a changé ou a échoué depuis, et aucune "
    "autre n'est prouvée",
    "rpo.blind": (
        "tous les stockages n'ont pas pu être lus, et aucune archive prouvée de cet invité ne "
        "figure dans ce qui a pu l'être"
    ),
    "rpo.future": "l'archive prouvée est datée du futur : une horloge est fausse, et son âge ne "
    "peut être dit",
    "rto.met": "la dernière restauration prouvée a pris {measured} (objectif {objective})",
    "rto.breached": "la dernière restauration prouvée a pris {measured} ; l'objectif est "
    "{objective}",
    "rto.gone": "l'archive dont la restauration a été mesurée a disparu, a changé ou a échoué "
    "depuis",
    "rto.unknown": "jamais mesuré : aucune restauration de cet invité n'est prouvée",
    "proof.met": "prouvé il y a {age} (au moins tous les {objective})",
    "proof.booted": "prouvé il y a {age} jusqu'au démarrage, ce que veut son niveau (au moins "
    "tous les {objective})",
    "proof.breached": "dernière preuve il y a {age} ; une preuve est due tous les {objective}",
    "proof.failed": (
        "un test de restauration d'une sauvegarde au moins aussi récente a échoué depuis la "
        "dernière preuve : {reason}"
    ),
    "proof.gone": "l'archive qui a été prouvée a disparu, a changé ou a échoué depuis : "
    "prouvez-en une qui est là",
    "proof.unknown": "jamais prouvé",
    "proof.latest": "jamais prouvé ; le dernier test de restauration a pour verdict « {verdict} » "
    ": {reason}",
    "copies.met": "une sauvegarde récente se trouve à {measured} endroit(s) : {places}",
    "copies.breached": "une sauvegarde récente se trouve à {measured} endroit(s) ({places}) ; il "
    "en faut {objective}",
    "copies.none": "il n'y a aucune archive",
    "copies.unknown": "{measured} endroit(s) vu(s) sur {objective} voulus, mais tous les "
    "stockages n'ont pas pu être lus",
    "depth.met": "l'historique remonte à {measured} jours (objectif {objective})",
    "depth.breached": "l'historique remonte à {measured} jours ; il en faut {objective}",
    "depth.unknown": "{measured} jours d'historique vus sur {objective} voulus, mais tous les "
    "stockages n'ont pas pu être lus",
    "absent": "le cluster ne montre pas cet invité",
}

GAPS: dict[str, str] = {
    "operation": "ce que l'opération {subject} a retenu",
    "quorum": "votes et quorum du cluster",
    "clock": "horloge du nœud {subject}",
    "clocks": "horloges des nœuds",
    "ha": "haute disponibilité : état et invités gérés",
    "jobs": "tâches de sauvegarde propres à PVE",
    "permissions": "droits du jeton",
    "bridges": "ponts du nœud {subject}",
    "storages": "les stockages et leur rétention",
    "listing": "archives du stockage {subject}",
    "node": "tout ce qui se trouve sur le nœud {subject}",
    "copies": "copies oubliées dans la plage de test",
    "config": "configuration de l'invité {subject} (agent, disques exclus)",
}

WORDS: dict[str, str] = {
    "snapshot-catalog": "instantané du catalogue",
    "snapshot-bundle": "lot de secours",
    "lineage.uuid": "UUID SMBIOS",
    "lineage.born": "date de création",
    "lineage.macs": "adresses MAC",
    "lineage.nothing": "rien",
    "ahead": "en avance",
    "behind": "en retard",
    "proven": "prouvé",
    "failed": "échec",
    "inconclusive": "non concluant",
    "skipped": "ignoré",
    "simulated": "simulé",
    "no-reason": "aucun motif n'a été consigné",
    "nowhere": "aucun",
    "none": "aucune",
    "this-service": "machine de ce service",
}
