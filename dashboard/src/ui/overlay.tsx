// Dialogs, menus and popovers, all alike.
import * as RadixDialog from "@radix-ui/react-dialog";
import * as RadixMenu from "@radix-ui/react-dropdown-menu";
import * as RadixPopover from "@radix-ui/react-popover";
import { type ReactElement, type ReactNode, useRef } from "react";
import { Kbd } from "./button";
import { Icon, type IconName } from "./icons";

interface DialogProps {
  open: boolean;
  onClose: () => void;
  title: ReactNode;
  about?: ReactNode;
  children: ReactNode;
  footer?: ReactNode;
  wide?: boolean;
}

export function Dialog({ open, onClose, title, about, children, footer, wide }: DialogProps) {
  return (
    <RadixDialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="fixed inset-0 z-40 animate-appear bg-black/45" />
        <RadixDialog.Content
          {...(about === undefined ? { "aria-describedby": undefined } : {})}
          className={`-translate-x-1/2 fixed top-[max(3vh,12px)] left-1/2 z-40 flex max-h-[94vh] w-[calc(100vw-24px)] flex-col overflow-hidden rounded-xl border border-line-strong bg-raised shadow-2xl sm:top-[10vh] sm:max-h-[84vh] ${wide === true ? "max-w-3xl" : "max-w-lg"}`}
        >
          <header className="flex items-start gap-3 px-5 pt-4 pb-2">
            <div className="min-w-0 flex-1 pr-8">
              <RadixDialog.Title className="font-semibold text-[0.9375rem] leading-6">
                {title}
              </RadixDialog.Title>
              {about !== undefined ? (
                <RadixDialog.Description asChild>
                  <div className="mt-0.5 text-dim">{about}</div>
                </RadixDialog.Description>
              ) : null}
            </div>
          </header>
          <div
            className="min-h-0 flex-1 overflow-y-auto px-5 py-2 outline-none focus-visible:shadow-[inset_0_1px_0_var(--color-line-strong)]"
            tabIndex={wide === true ? 0 : -1}
          >
            {children}
          </div>
          {footer !== undefined ? (
            <footer className="flex flex-wrap items-center justify-end gap-2 border-t bg-sunken px-5 py-3">
              {footer}
            </footer>
          ) : null}
          {/* Last, so that the first thing to be reached is what the dialog is for. */}
          <RadixDialog.Close
            aria-label="Close"
            title="Close (Esc)"
            className="absolute top-3.5 right-4 grid size-7 place-items-center rounded-[7px] text-dim hover:bg-hover hover:text-ink"
          >
            <Icon name="close" size={15} />
          </RadixDialog.Close>
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  );
}

export interface MenuItem {
  label: string;
  icon?: IconName;
  keys?: string;
  danger?: boolean;
  disabled?: boolean;
  /** Why it is disabled, or what it does. */
  about?: string;
  checked?: boolean;
  onSelect: () => void;
  /** What it opens takes the focus, so that the button does not get it back. */
  takesFocus?: boolean;
}

export function Menu({
  trigger,
  items,
  align = "end",
  startOpen = false,
  onClosed,
}: {
  trigger: ReactElement;
  items: (MenuItem | null)[];
  align?: "start" | "end";
  startOpen?: boolean;
  onClosed?: () => void;
}) {
  const then = useRef<(() => void) | null>(null);
  return (
    <RadixMenu.Root defaultOpen={startOpen} onOpenChange={(open) => !open && onClosed?.()}>
      <RadixMenu.Trigger asChild>{trigger}</RadixMenu.Trigger>
      <RadixMenu.Portal>
        <RadixMenu.Content
          onCloseAutoFocus={(event) => {
            if (then.current === null) return;
            event.preventDefault();
            then.current();
            then.current = null;
          }}
          align={align}
          sideOffset={4}
          collisionPadding={8}
          className="z-50 max-h-[70vh] min-w-52 max-w-80 animate-rise overflow-y-auto rounded-lg border border-line-strong bg-raised p-1 shadow-xl"
        >
          {items.map((item, index) =>
            item === null ? (
              <RadixMenu.Separator key={`line-${index}`} className="my-1 h-px bg-line" />
            ) : (
              <RadixMenu.Item
                key={item.label}
                disabled={item.disabled === true}
                onSelect={() => {
                  if (item.takesFocus === true) then.current = item.onSelect;
                  else item.onSelect();
                }}
                className={`flex min-h-8 cursor-default items-center gap-2.5 rounded-md px-2 py-1 outline-none data-highlighted:bg-hover data-disabled:opacity-55 ${item.danger === true ? "text-red" : ""}`}
              >
                {item.checked !== undefined ? (
                  <span className="w-4">
                    {item.checked ? <Icon name="check" size={14} /> : null}
                  </span>
                ) : item.icon !== undefined ? (
                  <Icon
                    name={item.icon}
                    size={15}
                    className={item.danger === true ? "" : "text-dim"}
                  />
                ) : null}
                <span className="min-w-0 flex-1">
                  {item.label}
                  {item.about !== undefined ? (
                    <span className="block text-faint text-xs">{item.about}</span>
                  ) : null}
                </span>
                {item.keys !== undefined ? <Kbd>{item.keys}</Kbd> : null}
              </RadixMenu.Item>
            ),
          )}
        </RadixMenu.Content>
      </RadixMenu.Portal>
    </RadixMenu.Root>
  );
}

export function Popover({
  trigger,
  children,
  align = "start",
  label,
}: {
  trigger: ReactElement;
  children: ReactNode;
  align?: "start" | "end";
  label: string;
}) {
  return (
    <RadixPopover.Root>
      <RadixPopover.Trigger asChild>{trigger}</RadixPopover.Trigger>
      <RadixPopover.Portal>
        <RadixPopover.Content
          align={align}
          sideOffset={5}
          collisionPadding={8}
          aria-label={label}
          className="z-50 w-[min(30rem,calc(100vw-16px))] animate-rise rounded-lg border border-line-strong bg-raised p-3 shadow-xl"
        >
          {children}
        </RadixPopover.Content>
      </RadixPopover.Portal>
    </RadixPopover.Root>
  );
}
